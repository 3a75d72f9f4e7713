"""How fast audio files become samples on this machine, by whom, and how well they are resampled.

    pip install tensorflow-io==0.37.1          # one of those compared
    python benchmarks/decoding.py --minutes=60 --out=decoding.json

Makes that many minutes of 44.1 kHz stereo in songs of 4 minutes, of the recordings in
tests/data/piano, as MP3 (128 kbit/s) and as FLAC. Each way reads all of them in a fresh process.
What counts is its CPU time from start to end, and that of those it starts: other work on the
machine disturbs it least.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import soundfile
import soxr
from absl import app, flags

from musika_tf import audio, decoders

_MINUTES = flags.DEFINE_integer("minutes", 60, "Minutes of each format.")
_FORMATS = flags.DEFINE_list("formats", ["mp3", "flac"], "Which; soundfile must write them.")
_WAYS = flags.DEFINE_list("ways", None, "Which, separated by commas; without it, all.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write; the tables go to its name with .md.")

_PIANO = pathlib.Path(__file__).parent.parent / "tests" / "data" / "piano"
_SONG_MINUTES = 4
_FROM_HZ, _TO_HZ = 44_100, 22_050
_DELAYS = range(-100, 101)


# The ways. Each takes a path and returns how many seconds it read.


def _seconds(opened) -> float:
    with opened as stream:
        return sum(len(block) for block in stream.blocks) / stream.sample_rate_hz


def _librosa(path: str) -> float:
    import librosa

    samples, rate_hz = librosa.load(path, sr=_TO_HZ, mono=False)
    return samples.shape[-1] / rate_hz


def _tensorflow_io_resampled(path: str) -> float:
    import tensorflow as tf
    import tensorflow_io as tfio

    samples = tf.cast(_decoded_by_tensorflow_io(path), tf.float32)
    return len(tfio.audio.resample(samples, _FROM_HZ, _TO_HZ)) / _TO_HZ


def _decoded_by_tensorflow_io(path: str):
    import tensorflow as tf
    import tensorflow_io as tfio

    content = tf.io.read_file(path)
    if path.endswith(".mp3"):
        return tfio.audio.decode_mp3(content)
    return tfio.audio.decode_flac(content, dtype=tf.int16)


def _prepared(folder: str) -> float:
    """Of a whole folder."""
    from musika_tf.config import AudioConfig
    from musika_tf.data import preparation

    report = preparation.prepare(folder, f"{folder}.prepared", AudioConfig())
    return sum(file.train_seconds + file.validation_seconds for file in report.used)


def _encoded(folder: str) -> float:
    """Of what was prepared of a folder."""
    from musika_tf.data import encoding
    from musika_tf.data.shards import Shards
    from musika_tf.runs import shipped
    from musika_tf.runs.run import Run

    prepared, latents = f"{folder}.prepared", f"{folder}.latents"
    encoding.encode_shards(Run(shipped.find("universal")), prepared, latents)
    return sum(source.n_rows for source in Shards.open(prepared).sources) / _TO_HZ


_OF_FILES: dict[str, Callable[[str], float]] = {
    "libsndfile": lambda path: _seconds(decoders._libsndfile(path)),
    "ffmpeg": lambda path: _seconds(decoders._ffmpeg(path, "")),
    "tensorflow-io": lambda path: len(_decoded_by_tensorflow_io(path)) / _FROM_HZ,
    "libsndfile + soxr HQ": lambda path: sum(
        block.duration_seconds for block in audio.read_blocks(path, _TO_HZ)
    ),
    "tensorflow-io + its resampling": _tensorflow_io_resampled,
    "librosa.load": _librosa,
}
_OF_FOLDERS = {
    "musika-prepare with 1 worker": _prepared,
    "musika-encode of what it prepared": _encoded,
}


def _measure(way: str, folder: pathlib.Path) -> dict[str, Any]:
    """One way over all songs of a folder, in this process."""
    if way in _OF_FOLDERS:
        seconds = _OF_FOLDERS[way](str(folder))
    else:
        seconds = sum(_OF_FILES[way](str(path)) for path in sorted(folder.iterdir()))
    status = pathlib.Path("/proc/self/status").read_text()
    own_kib = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    others_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "seconds": seconds,
        "cpu_seconds": sum(os.times()[:4]),
        "peak_mib": max(own_kib, others_kib) / 1024,
    }


def _make(folder: pathlib.Path, suffix: str, minutes: int) -> None:
    """Writes the songs, no two of them alike."""
    folder.mkdir()
    sounds = [audio.read(path, _FROM_HZ).samples for path in sorted(_PIANO.glob("*.ogg"))]
    sound = np.concatenate([audio.to_stereo(audio.Audio(s, _FROM_HZ)).samples for s in sounds])
    n_samples = _SONG_MINUTES * 60 * _FROM_HZ
    for index in range(minutes // _SONG_MINUTES):
        song = np.resize(np.roll(sound, 9973 * index, axis=0), (n_samples, 2))
        _write(folder / f"song{index:03d}.{suffix}", song)


def _write(path: pathlib.Path, samples: np.ndarray) -> None:
    more = {"bitrate_mode": "CONSTANT", "compression_level": 0.5} if path.suffix == ".mp3" else {}
    # libsndfile's MP3 encoder overflows its stack on minutes at once.
    with soundfile.SoundFile(path, "w", _FROM_HZ, 2, **more) as file:
        for begin in range(0, len(samples), _FROM_HZ):
            file.write(samples[begin : begin + _FROM_HZ])


def _in_fresh_process(way: str, folder: pathlib.Path) -> dict[str, Any] | None:
    command = [sys.executable, __file__, way, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def _snr_db(signal: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(signal**2) / np.sum((other - signal) ** 2)))


def _delay(signal: np.ndarray, other: np.ndarray) -> int:
    """Samples by which the other is late, within 100."""
    matches = [np.vdot(signal[200:-200], other[200 + k : len(other) - 200 + k]) for k in _DELAYS]
    return _DELAYS[int(np.argmax(matches))]


def _resampling_rows() -> list[dict[str, Any]]:
    """Sines up to 9.5 kHz at 44.1 kHz, at 22.05 kHz: beside what they are there, and soxr HQ."""
    time_in, time_out = np.arange(10 * _FROM_HZ) / _FROM_HZ, np.arange(10 * _TO_HZ) / _TO_HZ
    hz = np.linspace(50, 9_500, 40)[:, None]
    sound, truth = (
        (0.02 * np.sin(2 * np.pi * hz * t + hz).sum(axis=0)).astype(np.float32)[:, None]
        for t in (time_in, time_out)
    )
    middle = slice(_TO_HZ, -_TO_HZ)
    reference = soxr.resample(sound, _FROM_HZ, _TO_HZ, "HQ")
    rows = []
    for name, resample in _RESAMPLERS.items():
        try:
            result = np.asarray(resample(sound), np.float64)[: len(truth)]
        except (ImportError, NotImplementedError):
            continue
        delay = _delay(truth, result)
        result = np.roll(result, -delay, axis=0)[middle]
        rows.append(
            {
                "name": name,
                "delay": delay,
                "snr_db": _snr_db(truth[middle], result),
                "snr_to_soxr_hq_db": _snr_db(reference[middle], result),
            }
        )
    return rows


def _own(sound: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a.wav")
        soundfile.write(path, sound, _FROM_HZ, "FLOAT")
        return audio.read(path, _TO_HZ).samples


def _by_tensorflow_io(sound: np.ndarray) -> np.ndarray:
    import tensorflow_io as tfio

    return tfio.audio.resample(sound, _FROM_HZ, _TO_HZ).numpy()


def _by_scipy(sound: np.ndarray) -> np.ndarray:
    from scipy import signal

    return signal.resample_poly(sound, 1, 2)


_RESAMPLERS = {
    "musika_tf.audio": _own,
    "soxr VHQ": lambda sound: soxr.resample(sound, _FROM_HZ, _TO_HZ, "VHQ"),
    "soxr MQ": lambda sound: soxr.resample(sound, _FROM_HZ, _TO_HZ, "MQ"),
    "scipy.signal.resample_poly": _by_scipy,
    "tensorflow_io.audio.resample": _by_tensorflow_io,
}


def _tables(rows: list[dict[str, Any]], resampling: list[dict[str, Any]]) -> str:
    text = machine.heading("format", "way", "× real time a core", "MiB", "seconds read", n_words=2)
    for row in rows:
        if "cpu_seconds" not in row:
            text += machine.line(row["format"], row["way"], "does not run", "", "") + "\n"
            continue
        speed = row["seconds"] / row["cpu_seconds"]
        cells = f"{speed:.0f}", f"{row['peak_mib']:.0f}", f"{row['seconds']:.2f}"
        text += machine.line(row["format"], row["way"], *cells) + "\n"
    text += "\n" + machine.heading(
        "44.1 to 22.05 kHz by", "late by samples", "SNR", "SNR to soxr HQ", n_words=1
    )
    for row in resampling:
        values = f"{row['snr_db']:.0f} dB", f"{row['snr_to_soxr_hq_db']:.0f} dB"
        text += machine.line(row["name"], row["delay"], *values) + "\n"
    return text


def main(argv: list[str]) -> None:
    """Measures all, or in a fresh process one way."""
    if len(argv) == 3:
        print(json.dumps(_measure(argv[1], pathlib.Path(argv[2]))))
        return
    rows = []
    for suffix in _FORMATS.value:
        with tempfile.TemporaryDirectory() as place:
            folder = pathlib.Path(place, "songs")
            _make(folder, suffix, _MINUTES.value)
            for way in _WAYS.value or (*_OF_FILES, *_OF_FOLDERS):
                found = _in_fresh_process(way, folder)
                rows.append({"format": suffix, "way": way} | (found or {}))
                print(rows[-1], flush=True)
    resampling = _resampling_rows()
    text = _tables(rows, resampling)
    print(text)
    machine.write(_OUT.value, rows, text, minutes=_MINUTES.value, resampling=resampling)


if __name__ == "__main__":
    app.run(main)
