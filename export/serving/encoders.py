"""Music without end as bytes, in formats that players hear as a stream."""

from __future__ import annotations

import dataclasses
import io
import struct
from typing import Any

import numpy as np
import soundfile

from musika_tf.audio import to_int16
from musika_tf.config import N_CHANNELS


@dataclasses.dataclass(frozen=True)
class Format:
    """How music is written.

    Attributes:
      media_type: of HTTP.
      text: for people.
      options: of `soundfile.SoundFile`.
    """

    media_type: str
    text: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


_CONSTANT_RATE = {"bitrate_mode": "CONSTANT", "compression_level": 0.2}
# By suffix. At 22.05 kHz, of which MP3 knows no more than 160 kbit/s.
FORMATS = {
    "mp3": Format(
        "audio/mpeg",
        "MP3, some 128 kbit/s: plays everywhere",
        {"format": "MP3", "subtype": "MPEG_LAYER_III", **_CONSTANT_RATE},
    ),
    "ogg": Format(
        "audio/ogg",
        "Ogg Vorbis, some 60 kbit/s: a third of MP3's work for the server",
        {"format": "OGG", "subtype": "VORBIS"},
    ),
    "flac": Format("audio/flac", "FLAC, without loss", {"format": "FLAC", "subtype": "PCM_16"}),
    "wav": Format("audio/wav", "WAV of 16 bits, without loss"),
}


class Encoder:
    """Waveforms, chunk by chunk → bytes of one of `FORMATS`, of which players can begin with the
    first."""

    def __init__(self, suffix: str, sample_rate_hz: int):
        self._written = _Written()
        options = FORMATS[suffix].options
        form = sample_rate_hz, N_CHANNELS
        self._file = options and soundfile.SoundFile(self._written, "w", *form, **options)
        if not options:
            self._written.write(_wav_header(sample_rate_hz))

    def encode(self, waveform: np.ndarray) -> bytes:
        """The bytes that float [n, 2] in [-1, 1] adds; an encoder may keep some for later."""
        if self._file:
            self._file.write(waveform)
        else:
            self._written.write(to_int16(waveform).tobytes())
        return self._written.taken()


class _Written(io.RawIOBase):
    """A file without an end, of which what was taken is gone.

    libsndfile wants to know where it is and how much there is, and asks it of every file; it only
    goes back to put a length into a header, when the file is closed.
    """

    def __init__(self):
        self._bytes, self._n_taken = bytearray(), 0

    def write(self, data) -> int:
        self._bytes += data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.tell()

    def tell(self) -> int:
        return self._n_taken + len(self._bytes)

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = bytes(self._bytes)
        self._n_taken += len(data)
        self._bytes.clear()
        return data


def _wav_header(sample_rate_hz: int) -> bytes:
    """Of a file as long as its format can say."""
    n_bytes, frame = 2**32 - 1, 2 * N_CHANNELS
    form = struct.pack("<HHIIHH", 1, N_CHANNELS, sample_rate_hz, frame * sample_rate_hz, frame, 16)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", n_bytes)
    return b"RIFF" + struct.pack("<I", n_bytes) + b"WAVE" + chunks
