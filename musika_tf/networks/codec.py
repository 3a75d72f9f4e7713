"""Whole stereo files ↔ latents (paper §4.2).

A file is encoded with `overlap_size` zeros before it, so that its first samples lie under as many
frames as all others, and zeros after it up to a whole excerpt:

    padded    | zeros: overlap_size | the file's n samples | zeros to a whole excerpt |
    latents   |   latent 0   |   latent 1   |   latent 2   | …

Decoding gives the same timeline, so the file begins overlap_size samples into what comes out.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from musika_tf.config import N_CHANNELS, Config
from musika_tf.networks.autoencoder import Autoencoder, join_channels

# Excerpts encoded or decoded at once: half a minute, so that memory does not grow with the file.
CHUNK_N_EXCERPTS = 40


def n_latents_of(n_samples: int, config: Config) -> int:
    """Latents of a file of n_samples: whole excerpts that cover it."""
    n_excerpts = -(-(n_samples + config.audio.overlap_size) // config.audio.excerpt_n_samples)
    return n_excerpts * config.excerpt_n_latents


class FileCodec:
    """Encodes and decodes whole files, chunk by chunk, with the networks of an autoencoder."""

    def __init__(self, autoencoder: Autoencoder):
        self.autoencoder, self.config = autoencoder, autoencoder.config
        # Chunks differ in length only: one graph serves them all.
        latents = tf.TensorSpec([None, None, self.config.stereo_latent_depth])
        overlap = tf.TensorSpec([None, self.config.audio.overlap_size, N_CHANNELS])
        waveforms = tf.TensorSpec([None, None])
        self._encode = tf.function(autoencoder.encode, input_signature=[waveforms], autograph=False)
        self._decode = tf.function(
            autoencoder.decode, input_signature=[latents, overlap], autograph=False
        )

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        """Encodes a file: float32 [n_samples, n_channels] in [-1, 1] → float32
        [n_latents, n_channels·level2_latent_depth], left's channels, then right's."""
        overlap_size = self.config.audio.overlap_size
        n_samples = n_latents_of(len(waveform), self.config) * self.config.latent_hop_size
        padded = np.pad(waveform, ((overlap_size, n_samples - len(waveform)), (0, 0))).T
        chunk_n_samples = CHUNK_N_EXCERPTS * self.config.audio.excerpt_n_samples
        chunks = [
            self._encode(padded[:, start : start + chunk_n_samples + overlap_size])
            for start in range(0, n_samples, chunk_n_samples)
        ]
        return join_channels(tf.concat(chunks, axis=1)[None]).numpy()[0]

    def decode(self, latents: np.ndarray, n_samples: int | None = None) -> np.ndarray:
        """Decodes a file of n_samples, or all that the latents hold: whole excerpts
        [n_latents, n_channels·level2_latent_depth] → float32 [n_samples, n_channels] in [-1, 1]."""
        overlap_size = self.config.audio.overlap_size
        chunk_n_latents = CHUNK_N_EXCERPTS * self.config.excerpt_n_latents
        overlap = tf.zeros((1, overlap_size, N_CHANNELS))
        waveforms = []
        for start in range(0, len(latents), chunk_n_latents):
            chunk = np.asarray(latents[None, start : start + chunk_n_latents], np.float32)
            waveform, overlap = self._decode(chunk, overlap)
            waveforms.append(waveform[0])
        end = None if n_samples is None else overlap_size + n_samples
        return np.clip(np.concatenate(waveforms)[overlap_size:end], -1.0, 1.0)
