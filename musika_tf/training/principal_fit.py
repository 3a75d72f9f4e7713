"""Principal components of a level, streamed over the training data before its phase 1."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import safetensors.numpy
import tensorflow as tf

from musika_tf import progress
from musika_tf.config import INT16_SCALE, AudioConfig
from musika_tf.data.shards import Shards
from musika_tf.networks import principal
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.networks.fingerprint import sha256
from musika_tf.runs import checkpoint
from musika_tf.training import devices

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

    Of every training source all channels are read, up to the last whole excerpt.

    Args:
      autoencoder: with `level` levels; of level 2 the encoder of level 1 is trained.
      level: 1 or 2.
      shards: waveforms in the autoencoder's format.
      stage_dir: folder of the stage, where the sums are kept.

    Raises:
      ValueError: too little data, or nothing but silence.
    """
    config = autoencoder.config
    n_features = config.audio.n_bins if level == 1 else config.autoencoder.level1_latent_depth
    size = n_features * (1 if level == 1 else config.level2_ratio)
    depth = getattr(config.autoencoder, f"level{level}_latent_depth")
    kept = _KeptMoments(pathlib.Path(stage_dir) / MOMENTS_FILE, _origin(autoencoder, level, shards))
    blocks = _blocks_function(autoencoder, level, size)
    moments = _moments(blocks, size, shards, config.audio, kept)
    found = principal.PrincipalComponents.of(moments, depth, n_features)
    encoder, decoder = (autoencoder.networks[f"{name}{level}"] for name in ("encoder", "decoder"))
    principal.install(found, encoder, decoder)
    if devices.is_chief():
        share = 100.0 * found.share
        print(f"level {level}: {depth} principal components hold {share:.1f} % of the variance")


def _blocks_function(
    autoencoder: Autoencoder, level: int, size: int
) -> Callable[[np.ndarray], tf.Tensor]:
    """Waveforms [n_channels, …] → what the level codes: one row of `size` numbers a latent."""

    def blocks(waveforms: tf.Tensor) -> tf.Tensor:
        features = autoencoder.log_spectrogram(waveforms)
        if level == 2:
            features = principal.before_tanh(autoencoder.encode1(features))
        return tf.reshape(features, [-1, size])

    return tf.function(blocks, input_signature=[tf.TensorSpec([None, None])], autograph=False)


def _moments(
    blocks: Callable[[np.ndarray], tf.Tensor],
    size: int,
    shards: Shards,
    audio: AudioConfig,
    kept: _KeptMoments,
) -> principal.Moments:
    """Sums over the training sources in their order, with a progress bar."""
    sources = shards.split("train")
    moments, n_done = kept.load(size)
    bar = progress.bar(
        sources[n_done:],
        desc="principal components",
        unit="file",
        initial=n_done,
        total=len(sources),
        disable=not devices.is_chief(),
    )
    for n_sources, source in enumerate(bar, start=n_done + 1):
        for chunk in _chunks(shards.rows(source), audio):
            moments.add(blocks(chunk).numpy())
        is_due = n_sources % _SAVE_N_SOURCES == 0 or n_sources == len(sources)
        if is_due and devices.is_chief():
            kept.save(moments, n_sources)
    return moments


def _chunks(rows: np.ndarray, audio: AudioConfig) -> Iterator[np.ndarray]:
    """int16 [n_samples, n_channels] → float32 [n_channels, …] in [-1, 1], each whole excerpts."""
    hop = _CHUNK_N_EXCERPTS * audio.excerpt_n_samples
    for start in range(0, len(rows), hop):
        chunk = rows[start : start + hop + audio.overlap_size].T
        n_excerpts = (chunk.shape[1] - audio.overlap_size) // audio.excerpt_n_samples
        if n_excerpts > 0:
            end = n_excerpts * audio.excerpt_n_samples + audio.overlap_size
            yield chunk[:, :end].astype(np.float32) / INT16_SCALE


def _origin(autoencoder: Autoencoder, level: int, shards: Shards) -> str:
    """Tells apart what sums are of: the data, and at level 2 the encoder before it."""
    arrays = {source.name: np.int64(source.n_rows) for source in shards.split("train")}
    if level == 2:
        arrays |= {v.path: v.numpy() for v in autoencoder.networks["encoder1"].variables}
    return sha256(arrays)


class _KeptMoments:
    """The sums so far on disk; those of something else are not gone on with."""

    def __init__(self, path: pathlib.Path, origin: str):
        self._path, self._origin = path, np.frombuffer(origin.encode(), np.uint8)

    def load(self, size: int) -> tuple[principal.Moments, int]:
        """The sums, and over how many sources they are."""
        moments = principal.Moments(size)
        if not self._path.exists():
            return moments, 0
        arrays = safetensors.numpy.load_file(self._path)
        if not np.array_equal(arrays.get("origin"), self._origin):
            return moments, 0
        moments.n_rows = int(arrays["n_rows"])
        moments.total, moments.products = arrays["total"], arrays["products"]
        return moments, int(arrays["n_sources"])

    def save(self, moments: principal.Moments, n_sources: int) -> None:
        """Replaces what is there, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            "origin": self._origin,
            "n_rows": np.int64(moments.n_rows),
            "n_sources": np.int64(n_sources),
            "total": moments.total,
            "products": moments.products,
        }
        checkpoint.save_arrays(self._path, arrays)
