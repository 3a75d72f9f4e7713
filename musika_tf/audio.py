"""Audio files in and out: any rate and format to float32, and WAV or FLAC back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr

from musika_tf import decoders
from musika_tf.config import INT16_SCALE

# Suffixes that can be written, with the name that libsndfile has for the format.
WRITABLE_FORMATS = {".wav": "WAV", ".flac": "FLAC"}

# The size field of a WAV file has 32 bits; a little is left for the header.
_WAV_MAX_N_BYTES = 2**32 - 2**12


@dataclasses.dataclass(frozen=True)
class Audio:
    """A waveform, float32 [n_samples, n_channels], nominally in [-1, 1], and its rate."""

    samples: np.ndarray
    sample_rate_hz: int

    def __post_init__(self):
        if self.samples.ndim != 2 or self.samples.dtype != np.float32:
            raise ValueError(
                f"samples are {self.samples.dtype.name} {self.samples.shape}; they must be float32 "
                "[n_samples, n_channels]"
            )
        if self.sample_rate_hz <= 0:
            raise ValueError(f"sample_rate_hz={self.sample_rate_hz} must be positive")

    @property
    def n_samples(self) -> int:
        """Samples of each channel."""
        return self.samples.shape[0]

    @property
    def n_channels(self) -> int:
        """Channels: 1 mono, 2 stereo."""
        return self.samples.shape[1]

    @property
    def duration_seconds(self) -> float:
        """How long it sounds."""
        return self.n_samples / self.sample_rate_hz


def read(path: str | os.PathLike, sample_rate_hz: int | None = None) -> Audio:
    """Reads all channels of an audio file, of any format that `decoders` names.

    It is resampled to `sample_rate_hz` where that is given.

    Raises:
      ValueError: the file cannot be read, or not to its end, or holds NaN or infinite samples.
    """
    blocks = list(read_blocks(path, sample_rate_hz))
    return Audio(np.concatenate([b.samples for b in blocks]), blocks[0].sample_rate_hz)


def read_blocks(path: str | os.PathLike, sample_rate_hz: int | None = None) -> Iterator[Audio]:
    """Reads like `read`, but in blocks that together are the file: for very long files.

    Yields at least one block, empty if the file is. Of a file that cannot be read to its end all
    that can be read is yielded before `CutShortError` is raised.
    """
    with decoders.open_stream(path) as stream:
        yield from resampled_blocks(path, stream, sample_rate_hz or stream.sample_rate_hz)


def resampled_blocks(
    path: str | os.PathLike, stream: decoders.Stream, sample_rate_hz: int
) -> Iterator[Audio]:
    """What `read_blocks` yields of a file that is open."""
    form = stream.n_channels, "float32", "HQ"
    # Keeps the filter's state between blocks; durations are kept to a whole sample.
    resampler = soxr.ResampleStream(stream.sample_rate_hz, sample_rate_hz, *form)
    cut_short = None
    try:
        for samples in stream.blocks:
            if not np.isfinite(samples).all():
                raise ValueError(f"cannot use {path}: it holds NaN or infinite samples")
            if stream.sample_rate_hz != sample_rate_hz:
                samples = resampler.resample_chunk(samples)
            yield Audio(samples, sample_rate_hz)
    except decoders.CutShortError as error:
        cut_short = error
    rest = np.zeros((0, stream.n_channels), np.float32)
    yield Audio(resampler.resample_chunk(rest, last=True), sample_rate_hz)
    if cut_short:
        raise cut_short


def to_stereo(audio: Audio) -> Audio:
    """Two channels: mono is doubled; of more than two channels the first two are kept."""
    samples = audio.samples
    if audio.n_channels == 1:
        samples = np.repeat(samples, 2, axis=1)
    return Audio(samples[:, :2], audio.sample_rate_hz)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Floats of any shape, full scale [-1, 1] → int16, rounded and limited to its range."""
    scaled = np.asarray(samples, np.float32) * np.float32(INT16_SCALE)
    np.rint(scaled, out=scaled)
    # To look costs a third of limiting, and most audio keeps within full scale.
    if scaled.size and (scaled.max() >= INT16_SCALE or scaled.min() < -INT16_SCALE):
        np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1, out=scaled)
    return scaled.astype(np.int16)


def write(path: str | os.PathLike, audio: Audio) -> None:
    """Writes a WAV (16-bit PCM) or FLAC (16-bit) file, by suffix; beyond [-1, 1] is limited.

    The file appears under its name only when it is complete.

    Raises:
      ValueError: an unknown suffix, NaN or infinite samples, or too long for a WAV file.
      OSError: the file cannot be made or written.
    """
    form, n_samples = (audio.sample_rate_hz, audio.n_channels), audio.n_samples
    with AudioWriter(path, *form, keep_interrupted=False, expected_n_samples=n_samples) as writer:
        writer.write(audio.samples)


class AudioWriter:
    """Writes a WAV or FLAC file chunk by chunk, in constant memory; use it in a `with` statement.

    Until the end the file is called NAME.partial.wav (or .flac); a WAV file is valid and playable
    after every chunk. If the `with` block is left by an exception (Ctrl-C too), what was written so
    far becomes a complete, shorter file.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        sample_rate_hz: int,
        n_channels: int = 2,
        keep_interrupted: bool = True,
        expected_n_samples: int = 0,
    ):
        """Checks the request; the `with` block makes the file and folders that are missing.

        Args:
          path: file to write; the suffix is .wav or .flac.
          sample_rate_hz, n_channels: of every chunk.
          keep_interrupted: whether an exception keeps what was written, or discards it.
          expected_n_samples: how many will be written, so that too many are refused at once and
            not after hours; 0 if that is not known.

        Raises:
          ValueError: an unknown suffix, or more samples than fit in a WAV file.
        """
        self._path = pathlib.Path(path)
        self._format = WRITABLE_FORMATS.get(self._path.suffix.lower())
        if not self._format:
            raise ValueError(
                f"cannot write {path}: the suffix must be one of {', '.join(WRITABLE_FORMATS)}"
            )
        self._partial = self._path.with_name(f"{self._path.stem}.partial{self._path.suffix}")
        self._sample_rate_hz = sample_rate_hz
        self._n_channels = n_channels
        self._keep_interrupted = keep_interrupted
        self._n_samples = 0
        self._require_room(expected_n_samples)

    def __enter__(self) -> AudioWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        form = self._sample_rate_hz, self._n_channels, "PCM_16"
        with _failures_as_os_error(self._path):
            self._file = soundfile.SoundFile(
                decoders.native_path(self._partial), "w", *form, format=self._format
            )
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        with _failures_as_os_error(self._path):
            self._file.close()
        if exception_type is None or (self._keep_interrupted and self._n_samples):
            self._partial.replace(self._path)
        else:
            self._partial.unlink()

    def write(self, samples: np.ndarray) -> None:
        """Appends samples, float [n_samples, n_channels]; values beyond [-1, 1] are limited.

        Raises:
          ValueError: another shape, NaN or infinite values, or a WAV file would grow over 4 GiB.
          OSError: the disk does not take them.
        """
        if samples.ndim != 2 or samples.shape[1] != self._n_channels:
            raise ValueError(
                f"samples have shape {samples.shape}; they must be [n_samples, {self._n_channels}]"
            )
        if not np.isfinite(samples).all():
            raise ValueError(f"samples for {self._path} hold NaN or infinite values")
        self._require_room(len(samples))
        with _failures_as_os_error(self._path):
            self._file.write(to_int16(samples))
            # Brings the header up to date: even a killed program leaves a playable WAV file.
            self._file.flush()
        self._n_samples += len(samples)

    def _require_room(self, n_more: int) -> None:
        n_bytes = 2 * self._n_channels * (self._n_samples + n_more)
        if self._format == "WAV" and n_bytes > _WAV_MAX_N_BYTES:
            raise ValueError(f"{self._path} would grow over the 4 GiB of a WAV file: write .flac")


@contextlib.contextmanager
def _failures_as_os_error(path: pathlib.Path) -> Iterator[None]:
    """Names the file where libsndfile fails to write; it raises a RuntimeError without the path."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise OSError(
            f"cannot write {path} ({error.error_string}): look whether the disk is full or the "
            "folder write-protected"
        ) from error
