"""Waveform shards → stereo latent shards, and latents → audio files (paper §4.2, §5).

Labels of a file are read at the centres of what its latents see, and go into the shards too.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
from typing import ClassVar

import numpy as np

from musika_tf import audio as audio_io
from musika_tf import files, progress
from musika_tf.config import INT16_SCALE
from musika_tf.data import datasets
from musika_tf.data.annotation import Waveform
from musika_tf.data.latent_labels import AudioLabels
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.stored_rows import StoredRows
from musika_tf.data.workers import NoWorkers, Workers
from musika_tf.networks.codec import FileCodec, n_latents_of
from musika_tf.runs.run import Run

THIS_PROCESS = NoWorkers()
_DTYPE = "float16"


@dataclasses.dataclass(frozen=True)
class EncodingTask:
    """Encodes a `Waveform` to latents; see `Task`.

    Attributes:
      run_dir: run with a trained autoencoder.
      fingerprint: of its encoders.
      kept_dir: folder of latents by what they were made of, so that nothing is encoded twice.
    """

    run_dir: str
    fingerprint: str
    kept_dir: str
    stuck_after_seconds: ClassVar[int] = 0

    def __call__(self, waveform: Waveform) -> StoredRows:
        rows = waveform.rows.view()
        digest = hashlib.sha256(rows.data)
        digest.update(self.fingerprint.encode())
        path = pathlib.Path(self.kept_dir, digest.hexdigest())
        codec = _codec(self.run_dir, self.fingerprint)
        if not path.exists():
            latents = codec.encode(rows.astype(np.float32) / INT16_SCALE)
            with files.written_aside(path) as new:
                latents.astype(_DTYPE).tofile(new)
        n_latents = n_latents_of(len(rows), codec.config)
        return StoredRows(str(path), 0, n_latents, codec.config.stereo_latent_depth, _DTYPE)

    def failed(self, waveform: Waveform, reason: str) -> StoredRows:
        raise ValueError(f"encoding {waveform.name} {reason}")


@functools.cache
def _codec(run_dir: str, fingerprint: str) -> FileCodec:
    """Once a process."""
    return FileCodec(Run(run_dir).autoencoder())


def encode_shards(
    run: Run,
    data_dir: str | os.PathLike,
    latent_dir: str | os.PathLike,
    overwrite: bool = False,
    max_onsets_per_second: float | None = None,
    workers: Workers = THIS_PROCESS,
) -> None:
    """Encodes every source of waveform shards to stereo latents; its labels go with them.

    Latents are kept in the folder `latent_dir`.encoded until the shards are complete, so that a run
    that was stopped goes on where it was.

    Args:
      run: with a trained autoencoder.
      data_dir: waveform shards.
      latent_dir: latent shards to write, float16, sources and splits as in `data_dir`.
      max_onsets_per_second: onsets per second that make a note density of 1; None: the run's.

    Raises:
      ValueError: run and shards do not fit together, labels are damaged or incomplete, or
        `latent_dir` is taken.
    """
    config, fingerprint = run.config, run.encoder_fingerprint()
    shards = datasets.open_waveforms(data_dir, config)
    if max_onsets_per_second is None:
        max_onsets_per_second = config.conditioning.max_onsets_per_second
    labels = AudioLabels(data_dir, shards.sources, config, max_onsets_per_second)
    metadata = datasets.latent_metadata(
        config,
        fingerprint,
        n_samples={source.name: source.n_rows for source in shards.sources},
        labels=labels.metadata,
    )
    depth, names = config.stereo_latent_depth, labels.names
    writer = ShardWriter(
        latent_dir, depth, np.dtype(_DTYPE), metadata, overwrite=overwrite, label_names=names
    )
    # Workers may have another working directory.
    run_dir, base = os.path.abspath(run.folder), os.path.abspath(latent_dir)
    task = EncodingTask(run_dir, fingerprint, f"{base}.encoded")
    waveforms = [Waveform(source.name, shards.stored(source)) for source in shards.sources]
    with writer:
        all_latents = workers.map(task, waveforms, "encoding")
        for source, latents in zip(shards.sources, all_latents, strict=True):
            own = labels.at_latents(source, latents.n_rows)
            writer.add(source.name, latents, source.split, own, source.weight)
    shutil.rmtree(task.kept_dir, ignore_errors=True)


def decode_shards(run: Run, latent_dir: str | os.PathLike, out_dir: str | os.PathLike) -> None:
    """Decodes every source of latent shards, by the autoencoder that encoded them, to a WAV file:
    the ceiling of what a GAN can reach. It is named like its source, with .wav appended.

    Raises:
      ValueError: run and latents do not fit together.
    """
    codec = FileCodec(run.autoencoder())
    config = codec.config
    shards = datasets.open_latents(latent_dir, config, run.encoder_fingerprint())
    n_samples = shards.metadata["n_samples"]
    total = sum(n_samples.values())
    with progress.bar(desc="decoding", total=total, unit=" samples", unit_scale=True) as bar:
        for source in shards.sources:
            waveform = codec.decode(shards.rows(source), n_samples[source.name])
            # The whole name: songs of the same stem (a.mp3, a.flac) must not meet in one file.
            path = pathlib.Path(out_dir, f"{source.name}.wav")
            audio_io.write(path, audio_io.Audio(waveform, config.audio.sample_rate_hz))
            bar.update(n_samples[source.name])
