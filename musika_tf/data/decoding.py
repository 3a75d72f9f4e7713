"""One audio file → 16-bit stereo samples and a record of what it is, both kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import stat
import zlib
from typing import Any, NamedTuple

import numpy as np

from musika_tf import audio, decoders, files
from musika_tf.config import INT16_SCALE, N_CHANNELS
from musika_tf.data.stored_rows import StoredRows
from musika_tf.data.workers import show_headway

# Raised when samples or records come out otherwise, so that kept ones are not taken.
DECODING_VERSION = 2

# A file that never moves by more than this (-60 dB of full scale) is called silent.
_SILENCE_PEAK = 1e-3
# A file that reaches this many times full scale, and full scale this often, has another scale.
_FOREIGN_PEAK = 16
_FOREIGN_SHARE = 0.1
# What is worth a note: samples at full scale, and the mean of a channel.
_CLIPPED_SHARE = 0.001
_OFFSET = 0.01
# A part of the samples is enough for that mean.
_OFFSET_STRIDE = 16


@dataclasses.dataclass(frozen=True)
class AudioFile:
    """A file to decode.

    Attributes:
      name: unique, with forward slashes.
      path: where it lies.
      split: 'train' or 'validation' where the data set says so, or ''.
      part: of a mixture, the data set that it is from, or ''.
    """

    name: str
    path: str
    split: str = ""
    part: str = ""


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What a file is.

    Attributes:
      unusable_because: the reason, or '' if there are samples.
      n_bytes, modified_ns: size and time of the file, by which a changed one is known.
      sample_rate_hz, n_channels: as its header tells; 0 if nobody could read it.
      n_samples: stereo samples at the rate asked for.
      n_limited_samples: those beyond full scale, which were limited to it.
      digest: number and CRC-32 of the samples, '' if there are none.
      notes: for people, what is odd about it.
      version: of the decoding.
    """

    unusable_because: str = ""
    n_bytes: int = 0
    modified_ns: int = 0
    sample_rate_hz: int = 0
    n_channels: int = 0
    n_samples: int = 0
    n_limited_samples: int = 0
    digest: str = ""
    notes: str = ""
    version: int = DECODING_VERSION

    def is_of(self, file: AudioFile) -> bool:
        """Whether the file has not changed since, and would be decoded alike."""
        try:
            status = os.stat(file.path)
        except OSError:
            return False
        state = status.st_size, status.st_mtime_ns, DECODING_VERSION
        return (self.n_bytes, self.modified_ns, self.version) == state


class Content(NamedTuple):
    """What a file is, and its samples, int16 [n_samples, 2]; None if there are none."""

    decoded: Decoded
    rows: StoredRows | None


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The task of decoding one file; see `Task`.

    Attributes:
      sample_rate_hz: of the samples.
      kept_dir: folder of what was decoded: KEY.json, a `Decoded`, and KEY.pcm, int16
        [n_samples, 2], in which KEY follows from name and rate.
      stuck_after_seconds: a decoder that gives nothing for so long is stopped.
    """

    sample_rate_hz: int
    kept_dir: str
    stuck_after_seconds: int = 60

    def __call__(self, file: AudioFile) -> Decoded:
        """Decodes the file, unless it is kept and has not changed since."""
        return self.kept(file) or self._keep(file, self._decode(file))

    def kept(self, file: AudioFile) -> Decoded | None:
        """What an earlier call found in the file, unless it has changed since."""
        try:
            text = self._path(file, ".json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        kept = Decoded(**json.loads(text))
        return kept if kept.is_of(file) else None

    def failed(self, file: AudioFile, reason: str) -> Decoded:
        status = os.stat(file.path)
        reason = f"unreadable: its decoder {reason}"
        return self._keep(file, Decoded(reason, status.st_size, status.st_mtime_ns))

    def content(self, file: AudioFile, decoded: Decoded) -> Content:
        """What was decoded, with its samples."""
        if not decoded.n_samples:
            return Content(decoded, None)
        path = str(self._path(file, ".pcm"))
        return Content(decoded, StoredRows(path, 0, decoded.n_samples, N_CHANNELS, "int16"))

    def _path(self, file: AudioFile, suffix: str) -> pathlib.Path:
        name = os.fsencode(f"{self.sample_rate_hz} {file.name}")
        key = hashlib.sha256(name).hexdigest()
        return pathlib.Path(self.kept_dir, f"{key}{suffix}")

    def _keep(self, file: AudioFile, decoded: Decoded) -> Decoded:
        files.write_text(self._path(file, ".json"), json.dumps(dataclasses.asdict(decoded)))
        return decoded

    def _decode(self, file: AudioFile) -> Decoded:
        try:
            status = os.stat(file.path)
        except OSError as error:
            return Decoded(f"unreadable: {error.strerror}")
        state = {"n_bytes": status.st_size, "modified_ns": status.st_mtime_ns}
        # What is kept of an earlier state must not be taken for this one.
        self._path(file, ".json").unlink(missing_ok=True)
        try:
            if not stat.S_ISREG(status.st_mode):
                raise _UnusableError("unreadable: it is no regular file")
            with files.written_aside(self._path(file, ".pcm")) as new:
                found = self._decode_into(new, file)
        except _UnusableError as error:
            found = {"unusable_because": str(error)}
        return Decoded(**state, **found)

    def _decode_into(self, path: pathlib.Path, file: AudioFile) -> dict[str, Any]:
        """Writes the samples. Returns what `Decoded` says of them."""
        summary, cut_short = _Summary(), ""
        try:
            with decoders.open_stream(file.path) as stream, open(path, "wb") as pcm:
                for block in audio.resampled_blocks(file.path, stream, self.sample_rate_hz):
                    show_headway()
                    pcm.write(summary.add(audio.to_stereo(block).samples))
        except decoders.CutShortError as error:
            cut_short = _without_path(error, file)
        except ValueError as error:
            raise _UnusableError(f"unreadable: {_without_path(error, file)}") from error
        summary.require_usable(cut_short)
        return {
            "sample_rate_hz": stream.sample_rate_hz,
            "n_channels": stream.n_channels,
            "n_samples": summary.n_samples,
            "n_limited_samples": summary.n_limited,
            "digest": summary.digest,
            "notes": "; ".join(summary.notes(cut_short)),
        }


class _UnusableError(Exception):
    """Says why a file cannot be used; a word for its kind, a colon, and the rest."""


def _without_path(error: ValueError, file: AudioFile) -> str:
    """The report names the file already."""
    return str(error).removeprefix("cannot ").replace(f" {file.path}", "", 1)


class _Summary:
    """What is known of stereo samples that came block by block."""

    def __init__(self):
        self.n_samples = self.n_limited = self._n_full = 0
        self._peak = 0.0
        self._crc = 0
        self._least, self._greatest = INT16_SCALE, -INT16_SCALE
        self._sum, self._n_summed = np.zeros(N_CHANNELS, np.int64), 0

    def add(self, samples: np.ndarray) -> np.ndarray:
        """Takes float32 [n, 2]. Returns it as int16."""
        rows = audio.to_int16(samples)
        if not len(rows):
            return rows
        part = rows[::_OFFSET_STRIDE]
        self._n_summed += len(part)
        self._sum += [channel.sum(dtype=np.int64) for channel in part.T]
        least, greatest = int(rows.min()), int(rows.max())
        if max(-least, greatest) >= INT16_SCALE - 1:
            magnitudes = np.abs(samples)
            self._peak = max(self._peak, float(magnitudes.max()))
            self.n_limited += int((magnitudes > 1).sum())
            self._n_full += int((np.abs(rows.astype(np.int32)) >= INT16_SCALE - 1).sum())
        self.n_samples += len(rows)
        # At a third of the cost of SHA-256: nobody makes files that others are taken for.
        self._crc = zlib.crc32(rows, self._crc)
        self._least = min(self._least, least)
        self._greatest = max(self._greatest, greatest)
        return rows

    @property
    def digest(self) -> str:
        """The same for the same samples."""
        return f"{self.n_samples}-{self._crc:08x}"

    def require_usable(self, cut_short: str) -> None:
        """Raises _UnusableError if the samples are none, silent, or of another scale."""
        if not self.n_samples:
            raise _UnusableError(f"unreadable: {cut_short}" if cut_short else "empty: no samples")
        if self._greatest - self._least < 2 * _SILENCE_PEAK * INT16_SCALE:
            raise _UnusableError("silent: never above -60 dB of full scale, its mean set aside")
        share = self.n_limited / (N_CHANNELS * self.n_samples)
        if self._peak > _FOREIGN_PEAK and share > _FOREIGN_SHARE:
            raise _UnusableError(f"of another scale: it reaches {self._peak:.6g} times full scale")

    def notes(self, cut_short: str) -> list[str]:
        """What is odd about samples that can be used."""
        found = [f"cut short: {cut_short}"] if cut_short else []
        full_share = self._n_full / (N_CHANNELS * self.n_samples)
        if full_share > _CLIPPED_SHARE:
            found.append(f"clipped: {100 * full_share:.1f} % of it at full scale")
        offset = np.abs(self._sum).max() / self._n_summed / INT16_SCALE
        if offset > _OFFSET:
            found.append(f"offset: a mean of {offset:.2f} of full scale")
        return found
