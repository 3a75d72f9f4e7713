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
from musika_tf.conditioning.units import limited
from musika_tf.config import ConditioningConfig, Config
from musika_tf.data.shards import Position, Shards, Source

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
        self.names = tuple(signal.name for signal in self._labels)
        for found in self._labels.values():
            found.require([source.name for source in sources])

    @property
    def metadata(self) -> dict[str, Any]:
        """Of each label whether it is a curve or made of events, and of these their scale."""
        events = {"kind": "events", "max_onsets_per_second": self._max_onsets_per_second}
        return {
            signal.name: events if labels.is_events else {"kind": "curve"}
            for signal, labels in self._labels.items()
        }

    def at_latents(self, source: Source, n_latents: int) -> np.ndarray:
        """Float32 [n_latents, n_names]: the value at the centre of what each latent sees."""
        audio = self._config.audio
        columns = [
            labels_lib.values_at_steps(
                labels,
                source.name,
                signal,
                n_steps=n_latents,
                step_n_samples=self._config.latent_hop_size,
                first_sample=labels_lib.steps_first_sample(audio, audio.overlap_size),
                n_samples=source.n_rows,
                sample_rate_hz=audio.sample_rate_hz,
                max_onsets_per_second=self._max_onsets_per_second,
            )
            for signal, labels in self._labels.items()
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((n_latents, 0), np.float32)


class LatentSignals:
    """The signals of a conditional system along the latents that it learns.

    Attributes:
      n_latents: latents of all sources.
      n_limited: by signal, of how many of them the label is out of its range and so limited to it.
    """

    def __init__(self, shards: Shards, conditioning: ConditioningConfig):
        """Reads the labels of all sources: a number a latent and signal, which is little.

        Args:
          shards: latent shards.
          conditioning: of the system.

        Raises:
          ValueError: the shards have no label of a signal, or note density on another scale; says
            what to do.
        """
        for signal in conditioning.signals:
            _require_label(shards, signal.name, conditioning.max_onsets_per_second)
        self._conditioning = conditioning
        self._columns = [shards.label_names.index(name) for name in conditioning.names]
        self._values: dict[str, np.ndarray] = {}
        self.n_latents, n_limited = 0, np.zeros(conditioning.n_signals, np.int64)
        for source in shards.sources:
            as_labelled = self._of(shards, source)
            values = limited(as_labelled, conditioning.signals)
            n_limited += np.sum(values != as_labelled, axis=0)
            self.n_latents += source.n_rows
            self._values[source.name] = values
        self.n_limited = dict(zip(conditioning.names, n_limited.tolist(), strict=True))

    def _of(self, shards: Shards, source: Source) -> np.ndarray:
        values = shards.labels(source)[:, self._columns]
        for column, signal in enumerate(self._conditioning.signals):
            if signal.rate == "piece":
                values[:, column] = values[:, column].mean(dtype=np.float64)
        return values

    def crops(self, positions: Sequence[Position], crop_n_rows: int) -> np.ndarray:
        """What belongs to the latents of `Shards.crops` at the same positions.

        Returns:
          float32 [len(positions), crop_n_rows, n_signals] in user units, inside the ranges.
        """
        return np.stack(
            [self._values[source.name][row : row + crop_n_rows] for source, row in positions]
        )


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
