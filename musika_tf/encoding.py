"""Waveform shards → stereo latent shards, and latents → waveforms (paper §4.2, §5).

A file is encoded with `overlap_size` zeros before it, so that its first samples lie under as many
frames as all others, and zeros after it up to a whole excerpt:

    padded    | zeros: overlap_size | the file's n samples | zeros to a whole excerpt |
    latents   |   latent 0   |   latent 1   |   latent 2   | …

Decoding gives the same timeline, so the file begins overlap_size samples into what comes out.
Labels of the file are read at the centres of what the latents see, and go into the shards too.
"""

from __future__ import annotations

import os
import pathlib

import numpy as np
import tensorflow as tf
import tqdm

from musika_tf import audio as audio_io
from musika_tf import datasets
from musika_tf.autoencoder import Autoencoder, join_channels
from musika_tf.conditioning.latent_labels import AudioLabels
from musika_tf.config import INT16_SCALE, N_CHANNELS, Config
from musika_tf.shards import ShardWriter
from musika_tf.training import checkpoint, stages

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
        """Encodes a file.

        Args:
          waveform: float32 [n_samples, n_channels] in [-1, 1].

        Returns:
          float32 [n_latents, n_channels·level2_latent_depth]: left's channels, then right's.
        """
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
        """Decodes the latents of a file.

        Args:
          latents: [n_latents, n_channels·level2_latent_depth], whole excerpts.
          n_samples: length of the file; None: all that the latents hold.

        Returns:
          float32 [n_samples, n_channels] in [-1, 1].
        """
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


def load_autoencoder(run_dir: str | os.PathLike) -> Autoencoder:
    """The trained autoencoder of a run, both levels, from its newest level-2 checkpoint.

    Raises:
      ValueError: no run, or level 2 was not trained yet; the message says what to run.
    """
    autoencoder = Autoencoder(stages.require_config(run_dir))
    path = stages.autoencoder_checkpoint(run_dir)
    checkpoint.load_networks(path, autoencoder.networks)
    return autoencoder


def encode_shards(
    run_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    latent_dir: str | os.PathLike,
    overwrite: bool = False,
    max_onsets_per_second: float | None = None,
) -> None:
    """Encodes every source of waveform shards to stereo latents; its labels go with them.

    Args:
      run_dir: run with a trained autoencoder.
      data_dir: waveform shards.
      latent_dir: latent shards to write, float16, sources and splits as in `data_dir`.
      overwrite: replace latent shards that are there.
      max_onsets_per_second: onsets per second that make a note density of 1; None: as the run's
        config says.

    Raises:
      ValueError: run and shards do not fit together, labels are damaged or incomplete, or
        `latent_dir` is taken.
    """
    codec = FileCodec(load_autoencoder(run_dir))
    config = codec.config
    shards = datasets.open_waveforms(data_dir, config)
    if max_onsets_per_second is None:
        max_onsets_per_second = config.conditioning.max_onsets_per_second
    labels = AudioLabels(data_dir, shards.sources, config, max_onsets_per_second)
    metadata = datasets.latent_metadata(
        config,
        stages.encoder_fingerprint(run_dir),
        n_samples={source.name: source.n_rows for source in shards.sources},
        labels=labels.metadata,
    )
    writer = ShardWriter(
        latent_dir,
        config.stereo_latent_depth,
        np.float16,
        metadata,
        overwrite=overwrite,
        label_names=labels.names,
    )
    with (
        writer,
        _progress(metadata["n_samples"], "encoding") as bar,
    ):
        for source in shards.sources:
            waveform = shards.rows(source).astype(np.float32) / INT16_SCALE
            latents = codec.encode(waveform)
            told = labels.at_latents(source, len(latents))
            writer.add(source.name, latents.astype(np.float16), source.split, told)
            bar.update(source.n_rows)


def decode_shards(
    run_dir: str | os.PathLike, latent_dir: str | os.PathLike, out_dir: str | os.PathLike
) -> None:
    """Decodes every source of latent shards to a WAV file: the ceiling of what a GAN can reach.

    Args:
      run_dir: run with the autoencoder that encoded them.
      latent_dir: latent shards.
      out_dir: folder of the WAV files, each named like its source with .wav appended.

    Raises:
      ValueError: run and latents do not fit together.
    """
    codec = FileCodec(load_autoencoder(run_dir))
    config = codec.config
    shards = datasets.open_latents(latent_dir, config, stages.encoder_fingerprint(run_dir))
    n_samples = shards.metadata["n_samples"]
    with _progress(n_samples, "decoding") as bar:
        for source in shards.sources:
            waveform = codec.decode(shards.rows(source), n_samples[source.name])
            # The whole name: songs of the same stem (a.mp3, a.flac) must not meet in one file.
            path = pathlib.Path(out_dir, f"{source.name}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            audio_io.write(path, audio_io.Audio(waveform, config.audio.sample_rate_hz))
            bar.update(n_samples[source.name])


def _progress(n_samples: dict[str, int], description: str) -> tqdm.tqdm:
    return tqdm.tqdm(
        total=sum(n_samples.values()),
        unit=" samples",
        unit_scale=True,
        desc=description,
        dynamic_ncols=True,
    )
