"""A request → audio files, streamed to them in constant memory."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import re
import time
from collections.abc import Iterator, Mapping

import numpy as np
import tqdm

from musika_tf import audio as audio_io
from musika_tf import pictures
from musika_tf.conditioning.controls import parse_all
from musika_tf.config import N_CHANNELS
from musika_tf.networks import coordinates
from musika_tf.player import Player
from musika_tf.stream import MAX_START_SECONDS, Stream, require_start

MAX_SEED = 2**31 - 1
# A picture of a longer piece would show nothing, and the piece may not fit in memory.
_PICTURE_MAX_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Request:
    """What to generate.

    Attributes:
      seconds: length of each sample.
      start_seconds: where in the piece it begins, up to `stream.MAX_START_SECONDS`.
      seed: from 0 to 2^31 - 1; sample i draws from the pair (seed, i).
      truncation: anchors and style are standard normal draws cut at ± this.
      n_pieces: how many pieces.
      controls: of a conditional model, for each signal by its name a number, `random_walk` or the
        path of a curve, as `controls.parse` takes them; others hold the middle of their range.

    Raises:
      ValueError: a value is out of range.
    """

    seconds: float = 60.0
    start_seconds: float = 0.0
    seed: int = 0
    truncation: float = 2.0
    n_pieces: int = 1
    controls: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not 0.0 < self.seconds <= MAX_START_SECONDS:
            raise ValueError(
                f"seconds={self.seconds} must be above 0 and at most {MAX_START_SECONDS:g}, like "
                "60; what never ends is played by musika-play or Player.stream"
            )
        require_start(self.start_seconds)
        coordinates.require_truncation(self.truncation)
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed={self.seed} must be from 0 to {MAX_SEED}")
        if self.n_pieces < 1:
            raise ValueError(f"n_pieces={self.n_pieces} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of one sample.

    Attributes:
      duration_seconds: of the file.
      elapsed_seconds: that making it took.
      peak: largest absolute sample.
      rms: root of the mean of all squared samples.
      is_complete: False if the user ended it early.
    """

    path: pathlib.Path
    duration_seconds: float
    elapsed_seconds: float
    peak: float
    rms: float
    is_complete: bool

    def __str__(self) -> str:
        speed = self.duration_seconds / self.elapsed_seconds
        rms_dbfs = 20.0 * math.log10(self.rms) if self.rms else -math.inf
        return (
            f"{self.path}: {self.duration_seconds:.2f} s{'' if self.is_complete else ' (stopped)'},"
            f" {speed:.1f} × real time, peak {self.peak:.3f}, RMS {rms_dbfs:.1f} dBFS"
        )


def parse_time(text: str) -> float:
    """Seconds of a time as people write it: `90`, `90.5`, `1:30` or `1:00:00`.

    Raises:
      ValueError: it is none of these.
    """
    if not re.fullmatch(r"(\d+:([0-5]?\d:)?[0-5]?\d|\d+)(\.\d*)?", text):
        raise ValueError(f"start={text} must be seconds, like 90.5, or a time like 1:30 or 1:00:00")
    return sum(60.0**i * float(part) for i, part in enumerate(reversed(text.split(":"))))


def generate(
    player: Player, request: Request, out: str | os.PathLike, with_picture: bool = False
) -> Iterator[Report]:
    """Writes the samples of a request one after the other.

    Args:
      out: .wav or .flac file; several samples get -0, -1, … before the suffix.
      with_picture: also write a log-mel picture beside each file, .png.

    Yields:
      A report of each file when it is written. Ctrl-C ends the file that is being written; what
      it holds stays, its report says so, and no other follows.

    Raises:
      ValueError: the suffix is unknown, or the controls are not those of the model.
      KeyboardInterrupt: the user ended it before there was anything to keep.
    """
    for index, path in enumerate(_paths(pathlib.Path(out), request.n_pieces)):
        report = _write_sample(player, request, index, path)
        if with_picture:
            _draw_picture(path)
        yield report
        if not report.is_complete:
            return


def sample(player: Player, request: Request, index: int = 0) -> np.ndarray:
    """One of the samples of a request, float32 [n_samples, 2] in [-1, 1].

    Raises:
      ValueError: the controls are not those of the model.
    """
    return np.concatenate(list(stream(player, request, index)))


def stream(
    player: Player, request: Request, index: int = 0, max_chunk_seconds: float | None = None
) -> Stream:
    """The same, chunk after chunk; `max_chunk_seconds` as for `Player.stream`."""
    controls = parse_all(request.controls, player.config.conditioning.signals)
    seed, n_samples = (request.seed, index), _n_samples(player, request)
    start = request.start_seconds
    return player.stream(seed, request.truncation, controls, n_samples, start, max_chunk_seconds)


def _n_samples(player: Player, request: Request) -> int:
    return max(1, round(request.seconds * player.config.audio.sample_rate_hz))


def _paths(out: pathlib.Path, n_pieces: int) -> list[pathlib.Path]:
    if out.suffix.lower() not in audio_io.WRITABLE_FORMATS:
        known = " or ".join(audio_io.WRITABLE_FORMATS)
        raise ValueError(f"cannot write {out}: the suffix must be {known}")
    if n_pieces == 1:
        return [out]
    return [out.with_stem(f"{out.stem}-{index}") for index in range(n_pieces)]


def _write_sample(player: Player, request: Request, index: int, path: pathlib.Path) -> Report:
    """Streams one sample to its file."""
    rate_hz = player.config.audio.sample_rate_hz
    n_written, peak, energy, start = 0, 0.0, 0.0, time.perf_counter()
    is_complete = False
    try:
        chunks, total = stream(player, request, index), round(request.seconds, 1)
        writer = audio_io.AudioWriter(path, rate_hz, expected_n_samples=_n_samples(player, request))
        bar = tqdm.tqdm(total=total, unit=" s of audio", desc=path.name, dynamic_ncols=True)
        with writer, bar:
            for chunk in chunks:
                writer.write(chunk)
                n_written += len(chunk)
                peak = max(peak, float(np.abs(chunk).max()))
                energy += float(np.sum(np.square(chunk, dtype=np.float64)))
                bar.update(round(n_written / rate_hz, 1) - bar.n)
        is_complete = True
    except KeyboardInterrupt:
        if not n_written:
            raise
    return Report(
        path=path,
        duration_seconds=n_written / rate_hz,
        elapsed_seconds=time.perf_counter() - start,
        peak=peak,
        rms=math.sqrt(energy / max(1, n_written * N_CHANNELS)),
        is_complete=is_complete,
    )


def _draw_picture(path: pathlib.Path) -> None:
    """Draws the file, read back, so that memory does not grow with a long piece."""
    blocks, n_seconds = [], 0.0
    for block in audio_io.read_blocks(path):
        blocks.append(block.samples)
        n_seconds += block.duration_seconds
        if n_seconds >= _PICTURE_MAX_SECONDS:
            break
    rate_hz = block.sample_rate_hz
    waveform = np.concatenate(blocks)[: _PICTURE_MAX_SECONDS * rate_hz]
    pictures.save_picture(path.with_suffix(".png"), waveform, rate_hz, path.name)
