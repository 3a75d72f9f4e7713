"""Principal components of a level, streamed over the training data before its phase 1."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import safetensors.numpy
import tensorflow as tf
import tqdm

from musika_tf.config import INT16_SCALE, AudioConfig
from musika_tf.data.shards import Shards
from musika_tf.networks import principal
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.runs import checkpoint
from musika_tf.training import distribution

# In the folder of the stage: the sums so far, from which a run that was killed goes on.
MOMENTS_FILE = "principal_moments.safetensors"
# Excerpts that are looked at together: half a minute.
_CHUNK_N_EXCERPTS = 40
# Sources between two writes of the sums.
_SAVE_N_SOURCES = 200


def install(
    autoencoder: Autoencoder, level: int, shards: Shards, stage_dir: str | os.PathLike
) -> None:
    """Gives a level of an autoencoder the principal components of the training data.

    Args:
      autoencoder: with `level` levels; of level 2 the encoder of level 1 is trained.
      level: 1 or 2.
      shards: waveforms in the autoencoder's format.
      stage_dir: folder of the stage, where the sums are kept.

    Raises:
      ValueError: too little data.
    """
    config = autoencoder.config
    n_features = config.audio.n_bins if level == 1 else config.autoencoder.level1_latent_depth
    depth = getattr(config.autoencoder, f"level{level}_latent_depth")
    moments = _moments(autoencoder, level, n_features, shards, pathlib.Path(stage_dir))
    found = principal.PrincipalComponents.of(moments, depth, n_features)
    encoder, decoder = (autoencoder.networks[f"{name}{level}"] for name in ("encoder", "decoder"))
    principal.install(found, encoder, decoder)
    tqdm.tqdm.write(
        f"level {level}: {depth} principal components hold {100.0 * found.share:.1f} % of the "
        "variance"
    )


def _moments(
    autoencoder: Autoencoder, level: int, n_features: int, shards: Shards, stage_dir: pathlib.Path
) -> principal.Moments:
    """Sums over every channel of every training source, in their order, with a progress bar."""
    config = autoencoder.config
    size = n_features * (1 if level == 1 else config.level2_ratio)

    @tf.function(input_signature=[tf.TensorSpec([None, None])], autograph=False)
    def blocks(waveforms: tf.Tensor) -> tf.Tensor:
        features = autoencoder.log_spectrogram(waveforms)
        if level == 2:
            features = principal.before_tanh(autoencoder.encode1(features))
        return tf.reshape(features, [-1, size])

    path = stage_dir / MOMENTS_FILE
    moments, n_done = _load(path, size)
    sources = shards.split("train")
    bar = tqdm.tqdm(
        sources[n_done:],
        desc=f"level {level}, principal components",
        unit="file",
        initial=n_done,
        total=len(sources),
        dynamic_ncols=True,
        disable=not distribution.is_chief(),
    )
    for n_sources, source in enumerate(bar, start=n_done + 1):
        for chunk in _chunks(shards.rows(source), config.audio):
            moments.add(blocks(chunk).numpy())
        is_due = n_sources % _SAVE_N_SOURCES == 0 or n_sources == len(sources)
        if is_due and distribution.is_chief():
            _save(path, moments, n_sources)
    return moments


def _chunks(rows: np.ndarray, audio: AudioConfig) -> Iterator[np.ndarray]:
    """int16 [n_samples, n_channels] → float32 [n_channels, …], each of whole excerpts."""
    hop = _CHUNK_N_EXCERPTS * audio.excerpt_n_samples
    for start in range(0, len(rows), hop):
        chunk = rows[start : start + hop + audio.overlap_size].T
        n_excerpts = (chunk.shape[1] - audio.overlap_size) // audio.excerpt_n_samples
        if n_excerpts > 0:
            end = n_excerpts * audio.excerpt_n_samples + audio.overlap_size
            yield chunk[:, :end].astype(np.float32) / INT16_SCALE


def _load(path: pathlib.Path, size: int) -> tuple[principal.Moments, int]:
    """The sums so far, and over how many sources they are."""
    moments = principal.Moments(size)
    if not path.exists():
        return moments, 0
    arrays = safetensors.numpy.load_file(path)
    moments.n_rows = int(arrays["n_rows"])
    moments.total, moments.products = arrays["total"], arrays["products"]
    return moments, int(arrays["n_sources"])


def _save(path: pathlib.Path, moments: principal.Moments, n_sources: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "n_rows": np.int64(moments.n_rows),
        "n_sources": np.int64(n_sources),
        "total": moments.total,
        "products": moments.products,
    }
    checkpoint.save_arrays(path, arrays)
