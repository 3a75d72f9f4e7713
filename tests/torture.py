"""A folder of every kind of file that people's folders hold, each with what must become of it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable

import numpy as np
import soundfile

RATE_HZ = 22_050
FFMPEG = bool(shutil.which("ffmpeg"))
_NEEDS_FFMPEG = "unreadable: .*M4A, AAC and WMA need ffmpeg, which is not on the PATH"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
      name: of the file, relative to the folder.
      make: writes it.
      seconds: of it that are used; None: it is skipped.
      within: how many more or less they may be.
      says: a pattern of its notes, or of why it is skipped; 'absent': it is no audio file.
    """

    name: str
    make: Callable[[pathlib.Path], None]
    seconds: float | None = 2.0
    says: str = "$"
    within: float = 0.1


def _tone(seconds=2.0, rate_hz=RATE_HZ, n_channels=2, hz=0.0) -> np.ndarray:
    """[n_samples, n_channels]; every call another one, so that no two files hold the same."""
    _tone.calls = getattr(_tone, "calls", 0) + 1
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * (hz or 200 + 7 * _tone.calls) * time
    return np.stack([0.4 * np.sin(phase + channel) for channel in range(n_channels)], axis=1)


def _audio(rate_hz=RATE_HZ, n_channels=2, subtype=None, form=None, change=lambda x: x, **tone):
    def make(path):
        samples = change(_tone(rate_hz=rate_hz, n_channels=n_channels, **tone))
        # Open: soundfile itself takes no name that is no UTF-8.
        with open(path, "wb") as file:
            soundfile.write(file, samples, rate_hz, subtype, format=form or path.suffix[1:])

    return make


def _changed(make, change: Callable[[bytes], bytes]):
    """The bytes of another file, changed."""

    def make_changed(path):
        make(path)
        path.write_bytes(change(path.read_bytes()))

    return make_changed


def _two_thirds(data: bytes) -> bytes:
    return data[: 2 * len(data) // 3]


def _bytes(data: bytes):
    return lambda path: path.write_bytes(data)


def _ffmpeg(*words: str, suffix: str):
    def make(path):
        if not FFMPEG:
            path.write_bytes(b"\0\0\0 ftypM4A ")
            return
        soundfile.write(path.with_name("made.wav"), _tone(), RATE_HZ)
        made = path.with_name(f"made{suffix}")
        command = ["ffmpeg", "-v", "error", "-i", path.with_name("made.wav"), *words, made]
        subprocess.run(command, check=True)
        made.replace(path)
        path.with_name("made.wav").unlink()

    return make


def _without_length(path):
    """A variable bit rate whose first frame, the header that tells the length, is missing."""
    samples = np.concatenate([_tone(1), np.random.default_rng(0).uniform(-0.5, 0.5, (RATE_HZ, 2))])
    soundfile.write(path, samples, RATE_HZ, bitrate_mode="VARIABLE", compression_level=0.3)
    data = path.read_bytes()
    second = next(i for i in range(4, len(data)) if data[i] == 0xFF and data[i + 1] == data[1])
    assert b"Xing" in data[:second] and b"Xing" not in data[second:]
    path.write_bytes(data[second:])


def _tagged(data: bytes) -> bytes:
    """With an ID3 tag of 300 kB before it."""
    n_bytes = 300_000
    size = bytes(n_bytes >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00\x00" + size + bytes(n_bytes) + data


def _endless(data: bytes) -> bytes:
    """With a size as programs write it that do not know it yet."""
    at = data.index(b"data") + 4
    return data[:4] + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :]


def _rate(rate_hz: int):
    return lambda data: data[:24] + struct.pack("<I", rate_hz) + data[28:]


def _spoilt(value: float):
    def change(samples):
        samples[30_000] = value
        return samples

    return change


def _link(target: str):
    return lambda path: path.symlink_to(target)


def _copy(name: str, as_other: bool = False):
    def make(path):
        if as_other:
            soundfile.write(path, *soundfile.read(path.parent / name, dtype="int16"))
        else:
            shutil.copy(path.parent / name, path)

    return make


def _socket(path):
    # The path of a socket must be short.
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


_FLOAT = {"subtype": "FLOAT"}
_M4A = {"seconds": 2.0 if FFMPEG else None, "says": "$" if FFMPEG else _NEEDS_FFMPEG}
_NO_FORMAT = "unreadable: .*Format not recognised"
_DUPLICATE = "duplicate: the same audio as a 16 bit.wav"

# In the order of their making: some are made of others.
KINDS = (
    Kind("a 16 bit.wav", _audio()),
    Kind("8 bit 8 kHz.wav", _audio(8_000, 1, "PCM_U8")),
    Kind("24 bit 48 kHz.wav", _audio(48_000, 2, "PCM_24")),
    Kind("32 bit 96 kHz.wav", _audio(96_000, 2, "PCM_32")),
    Kind("float.wav", _audio(44_100, **_FLOAT)),
    Kind("double.wav", _audio(subtype="DOUBLE")),
    Kind("telephone.wav", _audio(8_000, 1, "ULAW")),
    Kind("adpcm.wav", _audio(44_100, 2, "IMA_ADPCM")),
    Kind("24 bit 192 kHz.flac", _audio(192_000, 2, "PCM_24")),
    Kind("8 channels.wav", _audio(48_000, 8)),
    Kind("surround.flac", _audio(48_000, 6)),
    Kind("odd rate.wav", _audio(11_127, 1)),
    Kind("a.aiff", _audio(32_000)),
    Kind("a.aifc", _audio(form="AIFF", subtype="FLOAT")),
    Kind("a.au", _audio()),
    Kind("a.caf", _audio()),
    Kind("a.w64", _audio()),
    Kind("a.ogg", _audio(44_100)),
    Kind("a.opus", _audio(48_000, form="OGG", subtype="OPUS", hz=500)),
    Kind("a.mp3", _audio(44_100)),
    Kind("mono.mp3", _audio(16_000, 1)),
    Kind("no length.mp3", _without_length, seconds=2.06),
    Kind("tagged.mp3", _changed(_audio(44_100), _tagged)),
    Kind("aac.m4a", _ffmpeg("-c:a", "aac", suffix=".m4a"), **_M4A),
    Kind("alac.m4a", _ffmpeg("-c:a", "alac", suffix=".m4a"), **_M4A),
    Kind("a.wma", _ffmpeg(suffix=".wma"), **_M4A),
    Kind("mp3 called.wav", _audio(44_100, form="MP3")),
    Kind("wav called.mp3", _audio(form="WAV")),
    Kind("flac called.m4a", _audio(form="FLAC")),
    Kind("wav without suffix", _audio(form="WAV")),
    Kind("flac called.bak", _audio(form="FLAC")),
    Kind("cut.wav", _changed(_audio(seconds=3), _two_thirds)),
    Kind("cut.flac", _changed(_audio(seconds=12), _two_thirds), 5.94, "cut short: .*lost sync"),
    Kind("cut.mp3", _changed(_audio(44_100, seconds=3), _two_thirds), seconds=1.9),
    Kind("cut.ogg", _changed(_audio(44_100, seconds=6), _two_thirds), seconds=3.0, within=1),
    Kind("streamed.wav", _changed(_audio(), _endless)),
    Kind("only a header.wav", _audio(seconds=0), None, "empty: no samples"),
    Kind("half a header.wav", _bytes(b"RIFF\x24\x00\x00\x00WA"), None, "unreadable: "),
    Kind("nothing.mp3", _bytes(b""), None, "unreadable: .*it is empty, 0 bytes"),
    Kind("text.wav", _bytes(b"this is no audio\n" * 99), None, _NO_FORMAT),
    Kind("zeros.mp3", _bytes(bytes(100_000)), None, "unreadable: "),
    Kind("picture.flac", _bytes(b"\x89PNG\r\n\x1a\n" + bytes(999)), None, _NO_FORMAT),
    Kind("half.m4a", _bytes(b"\0\0\0 ftypM4A "), None, "unreadable: "),
    Kind("1 Hz.wav", _changed(_audio(), _rate(1)), None, "unreadable: .* a rate of 1 Hz"),
    Kind("2 GHz.wav", _changed(_audio(), _rate(2**31 - 1)), None, "unreadable: .* Hz, not one"),
    Kind("silence.wav", _audio(change=np.zeros_like), None, "silent"),
    Kind("whisper.flac", _audio(change=lambda x: 0.001 * x), None, "silent"),
    Kind("only offset.wav", _audio(change=lambda x: 0 * x + 0.5), None, "silent"),
    Kind("offset.wav", _audio(change=lambda x: x + 0.25), says="offset: a mean of 0.25 of full"),
    Kind("clipped.wav", _audio(change=lambda x: np.clip(4 * x, -1, 1)), says="clipped: 5.* %"),
    Kind("loud.wav", _audio(change=lambda x: 3 * x, **_FLOAT), says="clipped: "),
    Kind(
        "integers.wav", _audio(change=lambda x: 32_768 * x, **_FLOAT), None,
        "of another scale: it reaches 1310.* times full scale",
    ),
    Kind("nan.wav", _audio(change=_spoilt(np.nan), **_FLOAT), None, "unreadable: .* NaN or inf"),
    Kind("inf.wav", _audio(change=_spoilt(-np.inf), **_FLOAT), None, "unreadable: .* NaN or inf"),
    Kind("short.wav", _audio(seconds=1.5), None, "too short: 1.50 s, a training pair takes 1.52 s"),
    Kind("one sample.wav", _audio(seconds=1 / RATE_HZ), None, "silent|too short"),
    Kind("Ünïcödé 音楽 🎹.wav", _audio()),
    Kind("e\u0301.wav", _audio()),
    Kind("\u00e9.wav", _audio()),
    Kind("n" * 251 + ".wav", _audio()),
    Kind("/".join(["deep" * 20] * 12) + "/a.wav", _audio()),
    Kind("line\nfeed\t.wav", _audio()),
    Kind("-i quote\"'$HOME%s.wav", _audio()),
    Kind(os.fsdecode(b"caf\xe9.wav"), _audio()),
    Kind("UPPER.WAV", _audio()),
    Kind("folder.wav/a.wav", _audio()),
    Kind("copy.wav", _copy("a 16 bit.wav"), None, _DUPLICATE),
    Kind("other form.flac", _copy("a 16 bit.wav", as_other=True), None, _DUPLICATE),
    Kind("link.wav", _link("a 16 bit.wav"), None, _DUPLICATE),
    Kind("broken link.wav", _link("nowhere"), None, "unreadable: No such file"),
    Kind("linked to itself.wav", _link("linked to itself.wav"), None, "unreadable: .*symbolic"),
    Kind("pipe.wav", os.mkfifo, None, "unreadable: it is no regular file"),
    Kind("socket.wav", _socket, None, "unreadable: it is no regular file"),
    Kind("loop", _link("."), None, "absent"),
    Kind("._a.wav", _bytes(b"\0\5\x16\7" * 20), None, "absent"),
    Kind("cover.jpg", _bytes(b"\xff\xd8\xff\xe0" * 99), None, "absent"),
    Kind("pipe", os.mkfifo, None, "absent"),
)  # fmt: skip


def make(folder: pathlib.Path, kinds: tuple[Kind, ...] = KINDS) -> None:
    """Makes a folder of them."""
    for kind in kinds:
        path = folder / kind.name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind.make(path)
