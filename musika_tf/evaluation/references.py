"""Real music beside which adherence is read: its tempo strength, and the range of its labels."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping

import numpy as np

from musika_tf import statistics
from musika_tf.conditioning import labels as labels_lib
from musika_tf.conditioning import timeline
from musika_tf.config import Config
from musika_tf.data import datasets
from musika_tf.data.encoding import FileCodec
from musika_tf.data.shards import Shards
from musika_tf.evaluation import adherence, music, quality
from musika_tf.networks.autoencoder import Autoencoder

# Crops of held-out music whose tempo strength is measured.
_N_CROPS = 16
# Share of the labels below and above the range that the data hold.
TAIL = 0.05


@dataclasses.dataclass(frozen=True)
class References:
    """What `measure` finds.

    Attributes:
      tempo_strength: of held-out music, means by kind: real and perhaps reconstructed.
      ranges: by signal, between which values most of the training labels lie.
    """

    tempo_strength: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]

    def metrics(self, result: adherence.Result) -> dict[str, float] | None:
        """Of the constants in the range of the data: its `low` and `high`, `pearson_r`, `slope`;
        None: it is not known, or holds fewer than two constants."""
        low, high = self.ranges.get(result.signal.name, (math.inf, -math.inf))
        inside = {v: group for v, group in result.constants.items() if low <= v <= high}
        if len(inside) < 2:
            return None
        pairs = [(v, sample.measured_mean) for v, group in inside.items() for sample in group]
        requested, measured = zip(*pairs, strict=True)
        return {
            "low": low,
            "high": high,
            "pearson_r": statistics.pearson(requested, measured),
            "slope": statistics.slope(requested, measured),
        }


def measure(
    config: Config,
    seconds: float,
    data_dir: str | os.PathLike,
    autoencoder: Autoencoder | None = None,
) -> References:
    """References of a model, in waveform shards with their labels: of crops of held-out music, so
    many seconds long, and of what an autoencoder, if any, makes of them.

    Raises:
      ValueError: the shards are of another audio format, no held-out source is so long, or a label
        file is damaged or lacks a source.
    """
    shards = datasets.open_waveforms(data_dir, config)
    names = {signal.name for signal in config.conditioning.asked}
    strengths: dict[str, float] = {}
    if adherence.TEMPO_BPM in names:
        n_samples = round(seconds * config.audio.sample_rate_hz)
        strengths = statistics.means(list(_strengths(shards, n_samples, config, autoencoder)))
    found = {
        name: labels for name, labels in labels_lib.read_all(data_dir).items() if name in names
    }
    return References(
        strengths, {name: _range(config, shards, labels) for name, labels in found.items()}
    )


def _strengths(
    shards: Shards, n_samples: int, config: Config, autoencoder: Autoencoder | None
) -> Iterator[dict[str, float]]:
    """Of each crop."""
    rate_hz, codec = config.audio.sample_rate_hz, autoencoder and FileCodec(autoencoder)
    for position in shards.fixed_positions(_N_CROPS, n_samples):
        heard = {quality.REAL: quality.crop(shards, position, n_samples)}
        if codec:
            latents = codec.encode(heard[quality.REAL])
            heard[quality.RECONSTRUCTED] = codec.decode(latents, n_samples)
        yield {k: music.tempo_strength(x.mean(axis=1), rate_hz) for k, x in heard.items()}


def _range(config: Config, shards: Shards, labels: labels_lib.Labels) -> tuple[float, float]:
    """At the latents of the training split."""
    values = []
    for source in shards.split("train"):
        n_steps = math.ceil(source.n_rows / config.latent_hop_size)
        times = timeline.centres_seconds(config, 0, n_steps)
        of_onsets = config.conditioning.max_onsets_per_second
        values.append(labels.values(source.name, times, of_onsets))
    low, high = np.nanquantile(np.concatenate(values), [TAIL, 1.0 - TAIL])
    return float(low), float(high)
