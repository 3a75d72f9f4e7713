"""Annotators: what a recording's signals are, estimated from its waveform and remembered.

Estimates take seconds a file, so each is kept in a small JSON file whose name follows from the
waveform and from how it was estimated: a run that was stopped, or is repeated with more files,
estimates only what is new.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from musika_tf import files
from musika_tf.conditioning import beats, onsets, tempo
from musika_tf.conditioning.labels import Labels
from musika_tf.config import INT16_SCALE
from musika_tf.data.stored_rows import StoredRows

NOTE_DENSITY = "note_density"
TEMPO = "tempo"
BEATS = "beats"

# A tempo that the network gives less probability than this is worth a look.
_UNSURE = 0.5
# Least sure files, and files without a steady beat, that a report names.
_MAX_N_NAMED = 5
_MAX_N_UNSTEADY_NAMED = 50


class Annotator(Protocol):
    """Estimates one signal of a waveform. Instances travel to worker processes."""

    # Of its labels, see musika_tf/conditioning/labels.py.
    signal_name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    # Raised when its answers change, so that remembered ones are not taken.
    version: ClassVar[int]
    # How it estimates, a word.
    method: str

    def rows(self, waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """Labels of a mono waveform, float32 [n_samples]: [n_rows, len(columns)]."""

    def findings(self, tables: Mapping[str, np.ndarray], seconds: float) -> list[str]:
        """Lines for people about the rows of all files, which last so many seconds together."""


@dataclasses.dataclass(frozen=True)
class OnsetAnnotator:
    """Note onsets, whose density is the signal `note_density` (paper §5.1)."""

    signal_name: ClassVar[str] = "note_density"
    columns: ClassVar[tuple[str, ...]] = ("time_seconds",)
    version: ClassVar[int] = 1
    method: str

    def rows(self, waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        return onsets.detect_onsets(waveform, sample_rate_hz, self.method).round(4)[:, None]

    def findings(self, tables: Mapping[str, np.ndarray], seconds: float) -> list[str]:
        n_onsets = sum(len(rows) for rows in tables.values())
        lines = [f"{n_onsets} onsets, {n_onsets / seconds:.2f} a second"]
        silent = [file for file, rows in tables.items() if not len(rows)]
        if silent:
            lines.append(f"{len(silent)} files without any, such as {silent[0]}")
        return lines


@dataclasses.dataclass(frozen=True)
class TempoAnnotator:
    """One tempo a file, the signal `tempo_bpm` (paper §5.2), with its confidence."""

    signal_name: ClassVar[str] = "tempo_bpm"
    columns: ClassVar[tuple[str, ...]] = ("time_seconds", "value", "confidence")
    version: ClassVar[int] = 1
    method: str = "tempocnn"

    def rows(self, waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        return np.array([[0.0, *tempo.estimate_tempo(waveform, sample_rate_hz)]]).round(3)

    def findings(self, tables: Mapping[str, np.ndarray], seconds: float) -> list[str]:
        tempos_bpm, confidences = np.concatenate(list(tables.values()))[:, 1:].T
        percentiles = np.percentile(confidences, [0, 5, 25, 50, 100])
        by_confidence = sorted(tables, key=lambda file: tables[file][0, 2])
        unsure = [file for file in by_confidence if tables[file][0, 2] < _UNSURE]
        lines = [
            f"{tempos_bpm.min():.1f} to {tempos_bpm.max():.1f} BPM, median "
            f"{np.median(tempos_bpm):.1f}",
            "confidence: least {:.2f}, 5 % of the files up to {:.2f}, 25 % {:.2f}, 50 % {:.2f}, "
            "greatest {:.2f}".format(*percentiles),
            f"{len(unsure)} files below {_UNSURE}",
        ]
        for file in unsure[:_MAX_N_NAMED]:
            _, tempo_bpm, confidence = tables[file][0]
            lines.append(f"unsure of {file}: {tempo_bpm:.1f} BPM, confidence {confidence:.2f}")
        return lines


@dataclasses.dataclass(frozen=True)
class BeatAnnotator:
    """Positions in beats, the signal `beats`; a file without a steady beat has the value NaN."""

    signal_name: ClassVar[str] = "beats"
    columns: ClassVar[tuple[str, ...]] = ("time_seconds", "value", "confidence")
    version: ClassVar[int] = 1
    method: str

    def rows(self, waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        points, confidence = beats.detect_beats(waveform, sample_rate_hz, self.method)
        return np.insert(points, 2, confidence, axis=1).round(5)

    def findings(self, tables: Mapping[str, np.ndarray], seconds: float) -> list[str]:
        steady = {file: rows for file, rows in tables.items() if np.isfinite(rows).all()}
        # From the first point to the last.
        spans = [np.ptp(rows[:, :2], axis=0) for rows in steady.values()]
        tempos_bpm = [60.0 * n_beats / n_seconds for n_seconds, n_beats in spans]
        lines = [
            f"{len(steady)} of {len(tables)} files have a steady beat, {min(tempos_bpm):.1f} to "
            f"{max(tempos_bpm):.1f} BPM, median {np.median(tempos_bpm):.1f}; which beat begins a "
            "bar is a guess"
        ]
        unsteady = [file for file in tables if file not in steady]
        if unsteady:
            lines.append(f"{len(unsteady)} files have none; a GAN with a clock leaves them out:")
        for file in unsteady[:_MAX_N_UNSTEADY_NAMED]:
            lines.append(f"no steady beat: {file}, confidence {tables[file][0, 2]:.2f}")
        if len(unsteady) > _MAX_N_UNSTEADY_NAMED:
            lines.append(f"and {len(unsteady) - _MAX_N_UNSTEADY_NAMED} more, nan in their labels")
        return lines


_KINDS = {NOTE_DENSITY: OnsetAnnotator, TEMPO: TempoAnnotator, BEATS: BeatAnnotator}
ANNOTATORS = tuple(_KINDS)
# Who estimates a signal, by its name.
ANNOTATOR_OF = {kind.signal_name: name for name, kind in _KINDS.items()}


def annotators(
    names: Sequence[str], onset_detector: str | None = None, beat_detector: str | None = None
) -> list[Annotator]:
    """Annotators by their names.

    Args:
      names: of `ANNOTATORS`, each at most once.
      onset_detector: of `onsets.DETECTORS`; None: madmom's where it is installed.
      beat_detector: of `beats.DETECTORS`; None: Tempo-CNN where it is installed.

    Raises:
      ValueError: an unknown name or one given twice, or what estimates it is not installed.
    """
    if len(set(names)) < len(names):
        raise ValueError(f"annotators {', '.join(names)}: each may stand there once")
    return [_annotator(name, onset_detector, beat_detector) for name in names]


def _annotator(name: str, onset_detector: str | None, beat_detector: str | None) -> Annotator:
    if name == NOTE_DENSITY:
        return OnsetAnnotator(onsets.installed_detector(onset_detector))
    if name == TEMPO:
        tempo.require_installed()
        return TempoAnnotator()
    if name == BEATS:
        return BeatAnnotator(beats.installed_detector(beat_detector))
    raise ValueError(f"annotator {name!r} must be one of {', '.join(ANNOTATORS)}")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What an annotator found in one file.

    Attributes:
      rows: float64 [n_rows, columns of the annotator].
      seconds: time that it took.
      is_remembered: whether an earlier run took it.
    """

    rows: np.ndarray
    seconds: float
    is_remembered: bool = False


def annotate(
    waveform: np.ndarray,
    sample_rate_hz: int,
    annotators: Sequence[Annotator],
    memory_dir: str | os.PathLike,
) -> dict[str, Annotation]:
    """Runs annotators on one file, or remembers in a folder what they found in it: by signal name.

    The waveform is int16 [n_samples, n_channels], as it lies in the shards; the mean of its
    channels is annotated.
    """
    digest = hashlib.sha256(np.ascontiguousarray(waveform).data)
    digest.update(f"{waveform.shape} {sample_rate_hz}".encode())
    mono = waveform.mean(axis=1, dtype=np.float32) / np.float32(INT16_SCALE)
    found = {}
    for annotator in annotators:
        name = f"{digest.hexdigest()}-{annotator.signal_name}-{annotator.method}"
        path = pathlib.Path(memory_dir, f"{name}-{annotator.version}.json")
        is_remembered = path.exists()
        if not is_remembered:
            begin = time.perf_counter()
            rows = annotator.rows(mono, sample_rate_hz).tolist()
            values = {"seconds": time.perf_counter() - begin, "rows": rows}
            files.write_text(path, json.dumps(values))
        values = json.loads(path.read_text(encoding="utf-8"))
        rows = np.array(values["rows"], np.float64).reshape(-1, len(annotator.columns))
        found[annotator.signal_name] = Annotation(rows, values["seconds"], is_remembered)
    return found


class Waveform(NamedTuple):
    """The samples of a file, int16 [n_samples, 2], and its name."""

    name: str
    rows: StoredRows


@dataclasses.dataclass(frozen=True)
class AnnotationTask:
    """Annotates a `Waveform`, as `annotate` does; see `Task`."""

    annotators: tuple[Annotator, ...]
    sample_rate_hz: int
    memory_dir: str
    stuck_after_seconds: ClassVar[int] = 0

    def __call__(self, waveform: Waveform) -> dict[str, Annotation]:
        rows = waveform.rows.view()
        return annotate(rows, self.sample_rate_hz, self.annotators, self.memory_dir)

    def failed(self, waveform: Waveform, reason: str) -> dict[str, Annotation]:
        names = ", ".join(annotator.signal_name for annotator in self.annotators)
        raise ValueError(f"annotating {names} of {waveform.name} {reason}: prepare without it")


def labels_of(annotator: Annotator, annotations: Mapping[str, Annotation]) -> Labels:
    """Labels of one signal, from the annotations of all files.

    Raises:
      ValueError: nothing was found in any file.
    """
    tables = {file: annotation.rows for file, annotation in annotations.items()}
    if not any(len(rows) and np.isfinite(rows).all() for rows in tables.values()):
        raise ValueError(
            f"{annotator.method} found nothing in any of the {len(tables)} files that could be "
            f"written as {annotator.signal_name}: prepare them without it"
        )
    origin = f"annotation by {annotator.method}"
    return Labels(annotator.signal_name, annotator.columns, tables, origin)


def report(
    annotator: Annotator, annotations: Mapping[str, Annotation], audio_seconds: float
) -> list[str]:
    """Lines that tell what was found in all files, so long together, and how long it took."""
    tables = {file: annotation.rows for file, annotation in annotations.items()}
    mean_seconds = np.mean([annotation.seconds for annotation in annotations.values()])
    n_remembered = sum(annotation.is_remembered for annotation in annotations.values())
    return [
        f"{annotator.signal_name}: {len(tables)} files by {annotator.method}, {mean_seconds:.2f} s "
        f"a file, {n_remembered} remembered from an earlier run",
        *(f"    {line}" for line in annotator.findings(tables, audio_seconds)),
    ]
