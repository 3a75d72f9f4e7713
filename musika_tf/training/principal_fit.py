"""Principal components of a level, streamed over the training data before its phase 1."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import safetensors.numpy
import tensorflow as tf
import tqdm

from musika_tf.autoencoder import Autoencoder
from musika_tf.config import INT16_SCALE
from musika_tf.principal import Moments, PrincipalComponents, before_tanh
from musika_tf.shards import Shards
from musika_tf.training import checkpoint

# In the folder of the stage: the sums so far, so that a killed run goes on from them.
MOMENTS_FILE = "principal_moments.safetensors"
# Excerpts that are looked at together: half a minute.
_CHUNK_N_EXCERPTS = 40
# Sources between two writes of the sums.
_SAVED_N_SOURCES = 200


def fit(
    autoencoder: Autoencoder, level: int, shards: Shards, stage_dir: str | os.PathLike
) -> PrincipalComponents:
    """Principal components of all training frames (level 1) or blocks of latents (level 2).

    Every channel of every training source is read once, in their order, with a progress bar.

    Args:
      autoencoder: with `level` levels; of level 2 the encoder of level 1 is trained.
      level: 1 or 2.
      shards: waveforms in the autoencoder's format.
      stage_dir: folder of the stage, where the sums are kept.

    Raises:
      ValueError: too little data.
    """
    config = autoencoder.config
    block_n_frames = 1 if level == 1 else config.level2_ratio
    n_features = config.audio.n_bins if level == 1 else config.autoencoder.level1_latent_depth

    @tf.function(input_signature=[tf.TensorSpec([None, None])], autograph=False)
    def blocks(waveforms: tf.Tensor) -> tf.Tensor:
        features = autoencoder.log_spectrogram(waveforms)
        if level == 2:
            features = before_tanh(autoencoder.encode1(features))
        return tf.reshape(features, [-1, block_n_frames * n_features])

    path = pathlib.Path(stage_dir, MOMENTS_FILE)
    sources = list(shards.split("train"))
    moments, n_done = _load(path, block_n_frames * n_features)
    with tqdm.tqdm(
        total=len(sources), initial=n_done, desc=f"level {level}, principal components", unit="file"
    ) as bar:
        for index in range(n_done, len(sources)):
            for chunk in _chunks(shards.rows(sources[index]), config.audio):
                moments.add(blocks(chunk).numpy())
            bar.update()
            if (index + 1) % _SAVED_N_SOURCES == 0 or index + 1 == len(sources):
                _save(path, moments, index + 1)
    depth = getattr(config.autoencoder, f"level{level}_latent_depth")
    return PrincipalComponents.of(moments, depth, n_features)


def _chunks(rows: np.ndarray, audio):
    """Whole excerpts of int16 [n_samples, n_channels] as float32 [n_channels, …] chunks."""
    hop = _CHUNK_N_EXCERPTS * audio.excerpt_n_samples
    for start in range(0, len(rows), hop):
        piece = rows[start : start + hop + audio.overlap_size].T
        n_excerpts = (piece.shape[1] - audio.overlap_size) // audio.excerpt_n_samples
        if n_excerpts > 0:
            n_samples = n_excerpts * audio.excerpt_n_samples + audio.overlap_size
            yield piece[:, :n_samples].astype(np.float32) / INT16_SCALE


def _load(path: pathlib.Path, size: int) -> tuple[Moments, int]:
    moments = Moments(size)
    if not path.exists():
        return moments, 0
    arrays = safetensors.numpy.load_file(path)
    moments.n_rows = int(arrays["n_rows"])
    moments.total, moments.products = arrays["total"], arrays["products"]
    return moments, int(arrays["n_sources"])


def _save(path: pathlib.Path, moments: Moments, n_sources: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save_arrays(
        path,
        {
            "n_rows": np.int64(moments.n_rows),
            "n_sources": np.int64(n_sources),
            "total": moments.total,
            "products": moments.products,
        },
    )
