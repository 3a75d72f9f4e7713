"""Waveform shards → stereo latent shards, and latents → audio files (paper §4.2, §5).

Labels of a file are read at the centres of what its latents see, and go into the shards too.
"""

from __future__ import annotations

import os
import pathlib

import numpy as np
import tqdm

from musika_tf import audio as audio_io
from musika_tf.config import INT16_SCALE
from musika_tf.data import datasets
from musika_tf.data.latent_labels import AudioLabels
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.networks.codec import FileCodec
from musika_tf.runs.run import Run


def encode_shards(
    run: Run,
    data_dir: str | os.PathLike,
    latent_dir: str | os.PathLike,
    overwrite: bool = False,
    max_onsets_per_second: float | None = None,
) -> None:
    """Encodes every source of waveform shards to stereo latents; its labels go with them.

    Args:
      run: with a trained autoencoder.
      data_dir: waveform shards.
      latent_dir: latent shards to write, float16, sources and splits as in `data_dir`.
      overwrite: replace latent shards that are there.
      max_onsets_per_second: onsets per second that make a note density of 1; None: the run's.

    Raises:
      ValueError: run and shards do not fit together, labels are damaged or incomplete, or
        `latent_dir` is taken.
    """
    codec = FileCodec(run.autoencoder())
    config = codec.config
    shards = datasets.open_waveforms(data_dir, config)
    if max_onsets_per_second is None:
        max_onsets_per_second = config.conditioning.max_onsets_per_second
    labels = AudioLabels(data_dir, shards.sources, config, max_onsets_per_second)
    metadata = datasets.latent_metadata(
        config,
        run.encoder_fingerprint(),
        n_samples={source.name: source.n_rows for source in shards.sources},
        labels=labels.metadata,
    )
    depth, names = config.stereo_latent_depth, labels.names
    writer = ShardWriter(
        latent_dir, depth, np.float16, metadata, overwrite=overwrite, label_names=names
    )
    with writer, _progress(metadata["n_samples"], "encoding") as bar:
        for source in shards.sources:
            waveform = shards.rows(source).astype(np.float32) / INT16_SCALE
            latents = codec.encode(waveform).astype(np.float16)
            own = labels.at_latents(source, len(latents))
            writer.add(source.name, latents, source.split, own, source.weight)
            bar.update(source.n_rows)


def decode_shards(run: Run, latent_dir: str | os.PathLike, out_dir: str | os.PathLike) -> None:
    """Decodes every source of latent shards to a WAV file: the ceiling of what a GAN can reach.

    Args:
      run: with the autoencoder that encoded them.
      latent_dir: latent shards.
      out_dir: folder of the WAV files, each named like its source with .wav appended.

    Raises:
      ValueError: run and latents do not fit together.
    """
    codec = FileCodec(run.autoencoder())
    config = codec.config
    shards = datasets.open_latents(latent_dir, config, run.encoder_fingerprint())
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
    total = sum(n_samples.values())
    return tqdm.tqdm(
        desc=description, total=total, unit=" samples", unit_scale=True, dynamic_ncols=True
    )
