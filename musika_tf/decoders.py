"""Who decodes an audio file: libsndfile, and ffmpeg what libsndfile cannot read.

libsndfile reads WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU, CAF and more, by content and not by
suffix. ffmpeg, if its program is on the PATH, reads the rest: M4A, AAC, WMA, ...
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soundfile

# Outside of it lie damaged headers; resampled, their few samples would fill a disk.
_SAMPLE_RATES_HZ = (1_000, 768_000)
# Of one channel in a block: of a file of a thousand channels too it takes few megabytes.
_BLOCK_N_VALUES = 2**17
# The longest there is, with a margin.
_MP3_FRAME_N_BYTES = 2**12


class Stream(NamedTuple):
    """A file being decoded: float32 blocks [n_samples, n_channels], and what its header tells."""

    sample_rate_hz: int
    n_channels: int
    blocks: Iterator[np.ndarray]


class CutShortError(ValueError):
    """A file that cannot be decoded to its end; its blocks until there were good."""


@contextlib.contextmanager
def open_stream(path: str | os.PathLike) -> Iterator[Stream]:
    """Opens a file with the first decoder that can.

    Raises:
      ValueError: nobody can, or its header is damaged; while its blocks are taken `CutShortError`.
    """
    _require_content(path)
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(_libsndfile(path))
        except soundfile.SoundFileError as error:
            reason = f"{_reason(error)} (libsndfile)"
            if not shutil.which("ffmpeg"):
                raise ValueError(
                    f"cannot read {path}: {reason}; M4A, AAC and WMA need ffmpeg, which is not on "
                    "the PATH"
                ) from error
            stream = stack.enter_context(_ffmpeg(path, reason))
        low, high = _SAMPLE_RATES_HZ
        if not low <= stream.sample_rate_hz <= high:
            raise ValueError(
                f"cannot read {path}: its header tells a rate of {stream.sample_rate_hz} Hz, not "
                f"one from {low} to {high}"
            )
        yield stream


def native_path(path: str | os.PathLike) -> str | bytes:
    """As bytes where the system has them: old collections hold names that are no UTF-8."""
    return os.fsencode(path) if os.name == "posix" else os.fspath(path)


def _require_content(path: str | os.PathLike) -> None:
    """Raises ValueError, with the system's reason, if there is nothing to decode."""
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise ValueError(f"cannot read {path}: it is empty, 0 bytes")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


@contextlib.contextmanager
def _libsndfile(path: str | os.PathLike) -> Iterator[Stream]:
    with soundfile.SoundFile(native_path(path)) as file:
        first_byte = _untagged_mp3(path) if file.format == "MP3" else None
        if first_byte is None:
            yield Stream(file.samplerate, file.channels, _libsndfile_blocks(path, file))
            return
    with _piped(path, first_byte) as file:
        yield Stream(file.samplerate, file.channels, _libsndfile_blocks(path, file))


def _libsndfile_blocks(path: str | os.PathLike, file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    n_samples, n_read = _BLOCK_N_VALUES // file.channels, -1
    while n_read:
        try:
            block = file.read(n_samples, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise CutShortError(f"cannot read {path} to its end: {_reason(error)}") from error
        n_read = len(block)
        yield block


def _untagged_mp3(path: str | os.PathLike) -> int | None:
    """Where an MP3 file begins behind its ID3 tag, if no header there tells its length.

    Of such a file libsndfile takes the length from the bitrate of its first frame: where that
    changes it would stop in the middle, without a word. Of a pipe it reads all there is.
    """
    with open(path, "rb") as file:
        tag = file.read(10)
        first_byte = 0
        if tag[:3] == b"ID3":
            # Seven bits a byte.
            first_byte = 10 + sum(byte << 7 * i for i, byte in enumerate(reversed(tag[6:10])))
        file.seek(first_byte)
        frame = file.read(_MP3_FRAME_N_BYTES)
    return None if any(name in frame for name in (b"Xing", b"Info", b"VBRI")) else first_byte


@contextlib.contextmanager
def _piped(path: str | os.PathLike, first_byte: int) -> Iterator[soundfile.SoundFile]:
    """Opens what follows a byte of a file as if it came from elsewhere."""
    reading, writing = os.pipe()
    feeder = threading.Thread(target=_feed, args=(path, first_byte, writing), daemon=True)
    feeder.start()
    with soundfile.SoundFile(reading, closefd=True) as file:
        yield file


def _feed(path: str | os.PathLike, first_byte: int, writing: int) -> None:
    # Whoever reads may stop earlier.
    with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
        with open(path, "rb") as file:
            file.seek(first_byte)
            shutil.copyfileobj(file, pipe)


def _reason(error: soundfile.SoundFileError) -> str:
    return getattr(error, "error_string", "") or str(error)


@contextlib.contextmanager
def _ffmpeg(path: str | os.PathLike, why: str) -> Iterator[Stream]:
    """The first audio stream of a file, sent through a pipe in the AU format."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", "-i"]
    command += [b"file:" + os.fsencode(path), "-map", "0:a:0", "-c:a", "pcm_f32be"]
    command += ["-f", "au", "pipe:1"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        try:
            header = process.stdout.read(24)
            if len(header) < 24:
                raise ValueError(f"cannot read {path}: {why}; {_last_line(errors)} (ffmpeg)")
            _, first_byte, _, _, sample_rate_hz, n_channels = struct.unpack(">4s5I", header)
            process.stdout.read(first_byte - 24)
            blocks = _ffmpeg_blocks(path, process, n_channels, errors)
            yield Stream(sample_rate_hz, n_channels, blocks)
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def _ffmpeg_blocks(
    path: str | os.PathLike, process: subprocess.Popen, n_channels: int, errors
) -> Iterator[np.ndarray]:
    row_n_bytes = 4 * n_channels
    while data := process.stdout.read(_BLOCK_N_VALUES // n_channels * row_n_bytes):
        values = np.frombuffer(data, ">f4", len(data) // row_n_bytes * n_channels)
        yield values.astype(np.float32).reshape(-1, n_channels)
    if process.wait():
        raise CutShortError(f"cannot read {path} to its end: {_last_line(errors)} (ffmpeg)")


def _last_line(errors) -> str:
    errors.seek(0)
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].rpartition(": ")[2] if lines else "no audio"
