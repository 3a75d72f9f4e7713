"""Folders of audio files: which files lie there, and all of them read by several processes."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import multiprocessing
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from musika_tf import audio
from musika_tf.config import INT16_SCALE, N_CHANNELS, AudioConfig
from musika_tf.data.annotation import Annotation, Annotator, annotate

# All are tried; which of them can be read depends on libsndfile (of version 1.2: up to .opus).
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".opus", ".m4a", ".aac", ".wma",
)  # fmt: skip

# A file that never gets louder than this (-60 dB of full scale) is called silent.
_SILENCE_PEAK = 1e-3

_NO_SAMPLES = np.zeros((0, N_CHANNELS), np.int16)


def find_audio_files(audio_dir: str | os.PathLike) -> tuple[list[str], dict[str, int]]:
    """Finds audio files by suffix, in subfolders and linked folders too.

    Returns:
      Paths relative to `audio_dir` with forward slashes, sorted; and how many files of which other
      suffix lie there.

    Raises:
      ValueError: no such folder, or no audio file in it.
    """
    root = pathlib.Path(audio_dir)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: give the folder that holds the audio files")
    names, others = [], collections.Counter()
    for path in _walk(root):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            names.append(path.relative_to(root).as_posix())
        else:
            others[path.suffix.lower() or "without suffix"] += 1
    if not names:
        raise ValueError(
            f"no audio file in {root} or below, among {others.total()} files: looked for "
            f"{', '.join(AUDIO_SUFFIXES)}"
        )
    return sorted(names), dict(sorted(others.items()))


def _walk(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """All files below a folder; a linked folder that was seen before is not entered again."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        yield from (pathlib.Path(folder, file) for file in files)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """One file as it was read.

    Attributes:
      waveform: int16 [n_samples, 2] at its final rate; without samples if it was skipped.
      n_limited_samples: samples beyond full scale, which were limited to it.
      skipped_because: the reason, or '' if it can be used.
      annotations: of a file that can be used, by signal name.
    """

    waveform: np.ndarray
    n_limited_samples: int
    skipped_because: str
    annotations: dict[str, Annotation]


@dataclasses.dataclass(frozen=True)
class Loader:
    """Reads and annotates files, in this process or in several.

    Attributes:
      config: gives the sample rate, and the length below which a file is too short.
      annotators: what to annotate.
      memory_dir: folder where they remember.
    """

    config: AudioConfig
    annotators: tuple[Annotator, ...]
    memory_dir: str

    def load_all(self, paths: Sequence[pathlib.Path], n_workers: int) -> Iterator[Loaded]:
        """Loads files in the given order, with a progress bar.

        Raises:
          ValueError: a worker process was killed.
        """
        doing = "reading and annotating" if self.annotators else "reading"
        with tqdm.tqdm(total=len(paths), desc=doing, unit="file") as progress:
            for loaded in self._map(paths, n_workers):
                yield loaded
                progress.update()

    def _map(self, paths: Sequence[pathlib.Path], n_workers: int) -> Iterator[Loaded]:
        if n_workers == 1 or len(paths) == 1:
            yield from map(self.load, paths)
            return
        # Fresh processes: a forked copy of a process that runs threads (TensorFlow) can hang.
        context = multiprocessing.get_context("spawn")
        executor = concurrent.futures.ProcessPoolExecutor(min(n_workers, len(paths)), context)
        try:
            # Only so many files are under way or waiting to be written, whatever their number.
            pending = collections.deque()
            for path in paths:
                pending.append(executor.submit(self.load, path))
                if len(pending) >= 2 * n_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise ValueError(
                "a process that reads audio was killed, most likely for memory: "
                f"n_workers={n_workers} must be smaller on this machine"
            ) from error
        finally:
            executor.shutdown(cancel_futures=True)

    def load(self, path: pathlib.Path) -> Loaded:
        """Reads and annotates one file."""
        rate = self.config.sample_rate_hz
        try:
            blocks, n_limited = [], 0
            for block in audio.read_blocks(path, rate):
                samples = audio.to_stereo(block).samples
                n_limited += int((np.abs(samples) > 1).sum())
                blocks.append(audio.to_int16(samples))
        except ValueError as error:
            return Loaded(_NO_SAMPLES, 0, f"unreadable: {error}", {})
        waveform = np.concatenate(blocks)
        reason = _unusable_because(waveform, self.config)
        if reason:
            return Loaded(_NO_SAMPLES, 0, reason, {})
        annotations = annotate(waveform, rate, self.annotators, self.memory_dir)
        return Loaded(waveform, n_limited, reason, annotations)


def _unusable_because(waveform: np.ndarray, config: AudioConfig) -> str:
    """Why a waveform cannot be used, or ''."""
    if not len(waveform):
        return "empty: it holds no samples"
    needed, rate = config.pair_n_samples, config.sample_rate_hz
    if len(waveform) < needed:
        return (
            f"too short: {len(waveform) / rate:.2f} s, a training pair takes {needed / rate:.2f} s"
        )
    # Minimum and maximum apart: the absolute value of -32768 does not fit in 16 bits.
    if max(int(waveform.max()), -int(waveform.min())) < _SILENCE_PEAK * INT16_SCALE:
        return "silent: never above -60 dB of full scale"
    return ""
