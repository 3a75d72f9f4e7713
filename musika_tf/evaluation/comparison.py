"""GANs on the same autoencoder beside each other and beside the music that they should sound like.

The figures are those of `quality`, without what only the autoencoder decides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from musika_tf import statistics
from musika_tf.config import Config
from musika_tf.data import datasets
from musika_tf.evaluation import music, quality, report_files
from musika_tf.generation import Request
from musika_tf.runs.run import Run

# Pieces that are listened to, of at most this length.
_N_PIECES, _MAX_SECONDS = 4, 24.0

_HELD_OUT, _TRAINING = "held-out music", "training music"

_COLUMNS = {
    "name": ("", ""),
    "window_frechet": ("Fréchet distance to training music", ".3f"),
    "nearest": ("distance to the nearest window of training", ".3f"),
    "seam": ("change where patches meet", ".2f"),
    "tempo_strength": ("tempo strength", ".2f"),
    "onsets_per_second": ("onsets a second", ".2f"),
    "spectral_centroid_hz": ("centroid Hz", ".0f"),
    "channel_correlation": ("left/right r", ".2f"),
    "rms_dbfs": ("RMS dBFS", ".1f"),
}
_EXPLAINED = (
    "Windows of a second of latents; the Fréchet distance sees what changes inside them, and that "
    "of held-out music, of which there is less, is what other pieces leave. Change where patches "
    "meet: over that elsewhere; 1: no seam. Windows far nearer to training than those of held-out "
    "music are would be copies."
)


def compare(runs: Mapping[str, Run], data_dir: str | os.PathLike) -> str:
    """A Markdown table of GANs with the same encoders, by the name of their row, and of the music
    of waveform shards: whether they sound like what the training split holds, and do not copy it.

    Raises:
      ValueError: a run and the shards do not fit together.
    """
    autoencoder = next(iter(runs.values())).autoencoder()
    rate_hz = autoencoder.config.audio.sample_rate_hz
    shards = datasets.open_waveforms(data_dir, autoencoder.config)
    held_out, training = (
        quality.encoded(autoencoder, shards, split) for split in ("validation", "train")
    )
    n_samples = min(round(_MAX_SECONDS * rate_hz), shards.longest("validation").n_rows)
    request = Request(seconds=n_samples / rate_hz, n_pieces=_N_PIECES)
    configs, latents, pieces = {}, {}, {}
    for name, run in runs.items():
        synthesizer = run.synthesizer()
        configs[name] = run.config
        latents[name] = quality.generated_latents(synthesizer, request)
        pieces[name] = [quality.generate(synthesizer, request, i) for i in range(_N_PIECES)]
    latents |= {_HELD_OUT: held_out, _TRAINING: training}
    positions = shards.fixed_positions(_N_PIECES, n_samples)
    pieces[_HELD_OUT] = [quality.crop(shards, position, n_samples) for position in positions]
    metrics = {
        name: statistics.means([music.waveform_metrics(piece, rate_hz) for piece in group])
        for name, group in pieces.items()
    }
    rows = [
        {"name": name}
        | _of_latents(configs.get(name, autoencoder.config), of_name, training)
        | metrics.get(name, {})
        for name, of_name in latents.items()
    ]
    return f"{_EXPLAINED}\n\n{report_files.table(_COLUMNS, rows)}"


def _of_latents(
    config: Config, latents: np.ndarray, training: np.ndarray
) -> dict[str, float | None]:
    found, n_latents = {}, config.second_n_latents
    if latents is not training:
        found["window_frechet"] = statistics.window_frechet(training, latents, n_latents)
        found["nearest"] = quality.nearest(latents, training, n_latents)["mean"]
    seams = music.Grid.of_latents(config).ratios(music.latent_changes(latents))
    return found | {"seam": seams["patch_ratio"]}
