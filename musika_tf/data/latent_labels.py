"""Labels of latents: written beside them when audio is encoded, read when a GAN is trained.

Latent shards hold the labels of all signals that the audio has, in user units and as they were
labelled. Which of them condition a GAN, in which range, and whether a signal has one value a piece,
its config says when it reads them; so one folder of latents serves GANs of any conditioning.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from musika_tf.conditioning import labels as labels_lib
from musika_tf.conditioning import timeline
from musika_tf.conditioning.units import limited
from musika_tf.config import ConditioningConfig, Config, Signal
from musika_tf.data.shards import SPLITS, Position, Shards, Source

# In the metadata of latent shards: what is known of each label, by its name.
METADATA_KEY = "labels"


class AudioLabels:
    """The labels of a folder of waveform shards, at the steps of the latents made of them.

    Attributes:
      names: of the signals, in the order of the columns.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        sources: Sequence[Source],
        config: Config,
        max_onsets_per_second: float,
    ):
        """Reads all label files of the folder, with the scale of those made of events.

        Raises:
          ValueError: a file is damaged, or does not label all sources.
        """
        self._config, self._max_onsets_per_second = config, max_onsets_per_second
        self._labels = labels_lib.read_all(data_dir)
        self.names = tuple(self._labels)
        for found in self._labels.values():
            found.require([source.name for source in sources])

    @property
    def metadata(self) -> dict[str, Any]:
        """Of each label whether it is a curve or made of events, and of these their scale."""
        events = {"kind": "events", "max_onsets_per_second": self._max_onsets_per_second}
        return {
            name: events if labels.is_events else {"kind": "curve"}
            for name, labels in self._labels.items()
        }

    def at_latents(self, source: Source, n_latents: int) -> np.ndarray:
        """Float32 [n_latents, n_names]: the value at the centre of what each latent sees."""
        overlap_size = self._config.audio.overlap_size
        times = timeline.centres_seconds(self._config, 0, n_latents, n_samples_before=overlap_size)
        columns = list(self._at(source, times).values())
        return np.stack(columns, axis=1) if columns else np.zeros((n_latents, 0), np.float32)

    def crops(self, positions: Sequence[Position], n_latents: int) -> np.ndarray:
        """The conditioning of latents that begin at positions of the waveform shards.

        Returns:
          float32 [n_positions, n_latents + 2·context_n_steps, n_signals] in user units; NaN where
          nobody knows.
        """
        signals, context = self._config.conditioning.signals, self._config.gan.context_n_steps
        n_steps = n_latents + 2 * context
        crops = []
        for source, row in positions:
            times = timeline.centres_seconds(self._config, -context, n_steps, n_samples_before=-row)
            known, unknown = self._at(source, times), np.full(n_steps, np.nan)
            columns = [known.get(signal.name, unknown) for signal in signals]
            crops.append(_as_conditioning(np.stack(columns, axis=1), signals))
        return limited(np.stack(crops), signals)

    def _at(self, source: Source, times: np.ndarray) -> dict[str, np.ndarray]:
        """The value of each label at times in seconds."""
        return {
            name: labels.values(source.name, times, self._max_onsets_per_second)
            for name, labels in self._labels.items()
        }


class LatentSignals:
    """The signals of a conditional system along the latents that it learns.

    Attributes:
      unknown: names of the sources that have no value of some signal, which are not learnt.
      n_latents: latents of the others.
      n_limited: by signal, of how many of them the label is out of its range and so limited to it.
    """

    def __init__(self, shards: Shards, conditioning: ConditioningConfig):
        """Reads the labels of all sources of latent shards: a number a latent and signal, which is
        little.

        Raises:
          ValueError: the shards have no label of a signal, or note density on another scale, or
            nothing of a split is known; says what to do.
        """
        for signal in conditioning.signals:
            _require_label(shards, signal.name, conditioning.max_onsets_per_second)
        self._signals = conditioning.signals
        columns = [shards.label_names.index(name) for name in conditioning.names]
        self.unknown: tuple[str, ...] = ()
        self._values: dict[str, np.ndarray] = {}
        for source in shards.sources:
            values = _as_conditioning(shards.labels(source)[:, columns], self._signals)
            if np.isnan(values).any():
                self.unknown += (source.name,)
            else:
                self._values[source.name] = values
        for split in SPLITS:
            sources = shards.split(split)
            if sources and all(source.name in self.unknown for source in sources):
                raise ValueError(
                    f"none of the {len(sources)} {split} sources, such as {sources[0].name!r}, has "
                    f"a value of {' and '.join(conditioning.names)}: correct the labels beside the "
                    "waveforms and encode again, or train without"
                )
        self.n_latents = sum(map(len, self._values.values()))
        self.n_limited = self._count_limited()

    def _count_limited(self) -> dict[str, int]:
        n_limited = np.zeros(len(self._signals), np.int64)
        for values in self._values.values():
            n_limited += np.sum(limited(values, self._signals) != values.astype(np.float32), axis=0)
        return {
            signal.name: 0 if signal.is_clock else int(n)
            for signal, n in zip(self._signals, n_limited, strict=True)
        }

    def crops(
        self, positions: Sequence[Position], crop_n_rows: int, context: int = 0
    ) -> np.ndarray:
        """What belongs to the latents of `Shards.crops` at the same positions.

        Args:
          positions: in sources that are not `unknown`.
          crop_n_rows: latents of each crop.
          context: steps before and after it; beyond the ends of a source values are held, and beats
            go on.

        Returns:
          float32 [len(positions), crop_n_rows + 2·context, n_signals] in user units, inside the
          ranges.
        """
        steps = np.arange(-context, crop_n_rows + context)
        crops = [self._at(self._values[source.name], row + steps) for source, row in positions]
        return limited(np.stack(crops), self._signals)

    def _at(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        found = values[np.clip(rows, 0, len(values) - 1)]
        for column, signal in enumerate(self._signals):
            if signal.is_clock:
                found[:, column] = timeline.gone_on(rows, np.arange(len(values)), values[:, column])
        return found


def _as_conditioning(labelled: np.ndarray, signals: Sequence[Signal]) -> np.ndarray:
    """Columns of signals, float64: of one of a whole piece the mean."""
    values = labelled.astype(np.float64)
    for column, signal in enumerate(signals):
        if signal.rate == "piece":
            values[:, column] = values[:, column].mean()
    return values


def _require_label(shards: Shards, name: str, max_onsets_per_second: float) -> None:
    if name not in shards.label_names:
        raise ValueError(
            f"the latents have no label {name}, only {', '.join(shards.label_names) or 'none'}: "
            f"label the audio with `musika-prepare --annotate` or `--labels={name}=FILE.csv` and "
            "encode it again with musika-encode"
        )
    scale = shards.metadata[METADATA_KEY][name].get("max_onsets_per_second")
    if scale not in (None, max_onsets_per_second):
        raise ValueError(
            f"the latents' label {name} is 1 at {scale:g} onsets per second, the run's at "
            f"{max_onsets_per_second:g}: encode again with `musika-encode "
            f"--max_onsets_per_second={max_onsets_per_second:g}`, or train with "
            f"--max_onsets_per_second={scale:g}"
        )
