"""Annotators: what they write, what they remember, what they tell."""

import dataclasses
import importlib.util
import sys
from typing import ClassVar

import numpy as np
import pytest

from musika_tf.conditioning import beats, onsets, tempo
from musika_tf.data import annotation
from musika_tf.data.annotation import (
    Annotation,
    BeatAnnotator,
    OnsetAnnotator,
    TempoAnnotator,
)


def noise(n_samples=30_000, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, (n_samples, 2)).astype(np.int16)


@dataclasses.dataclass(frozen=True)
class Loudness:
    """Counts how often it is asked."""

    signal_name: ClassVar[str] = "loudness"
    columns: ClassVar[tuple[str, ...]] = ("time_seconds", "value")
    version: int = 1
    method: str = "peak"
    asked: ClassVar[list] = []

    def rows(self, waveform, sample_rate_hz):
        self.asked.append((waveform, sample_rate_hz))
        return np.array([[0.0, np.abs(waveform).max()]])

    def findings(self, tables, seconds):
        return [f"{len(tables)} peaks in {seconds} s"]


@pytest.fixture(autouse=True)
def _nobody_was_asked():
    Loudness.asked.clear()


def test_the_mean_of_the_channels_is_annotated(tmp_path):
    waveform = noise()
    found = annotation.annotate(waveform, 8000, [Loudness()], tmp_path / "memory")
    expected = (waveform[:, 0] / 65_536 + waveform[:, 1] / 65_536).astype(np.float32)
    ((asked, rate),) = Loudness.asked
    assert (asked.dtype, rate) == (np.float32, 8000)
    np.testing.assert_allclose(asked, expected, atol=1e-7)
    assert found["loudness"].rows[0, 1] == pytest.approx(np.abs(expected).max())
    assert not found["loudness"].is_remembered


def test_what_was_found_is_remembered(tmp_path):
    first = annotation.annotate(noise(), 8000, [Loudness()], tmp_path)["loudness"]
    again = annotation.annotate(noise().copy(), 8000, [Loudness()], tmp_path)["loudness"]
    assert len(Loudness.asked) == 1
    np.testing.assert_array_equal(again.rows, first.rows)
    assert again.seconds == first.seconds
    assert again.is_remembered
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


CHANGED = {
    "a sample": lambda: (noise() ^ np.eye(30_000, 2, dtype=np.int16), 8000, Loudness()),
    "the length": lambda: (noise()[:-1], 8000, Loudness()),
    "the rate": lambda: (noise(), 8001, Loudness()),
    "the method": lambda: (noise(), 8000, Loudness(method="mean")),
    "the version": lambda: (noise(), 8000, Loudness(version=2)),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_changed_is_annotated_again(tmp_path, what):
    annotation.annotate(noise(), 8000, [Loudness()], tmp_path)
    waveform, rate, annotator = CHANGED[what]()
    found = annotation.annotate(waveform, rate, [annotator], tmp_path)["loudness"]
    assert len(Loudness.asked) == 2
    assert not found.is_remembered


def test_no_rows_are_remembered_too(tmp_path, monkeypatch):
    monkeypatch.setattr(onsets, "detect_onsets", lambda *_: np.zeros(0))
    for is_remembered in (False, True):
        found = annotation.annotate(noise(), 8000, [OnsetAnnotator("librosa")], tmp_path)
        assert found["note_density"].rows.shape == (0, 1)
        assert found["note_density"].is_remembered == is_remembered


def test_onsets_become_events(monkeypatch):
    monkeypatch.setattr(onsets, "detect_onsets", lambda *_: np.array([7.0, 8.12346]))
    rows = OnsetAnnotator("librosa").rows(np.zeros(9), 8000)
    annotations = {"a.ogg": Annotation(rows, 1.0), "b.ogg": Annotation(rows[:0], 3.0, True)}
    labels = annotation.labels_of(OnsetAnnotator("librosa"), annotations)
    assert labels.to_csv() == "file,time_seconds\na.ogg,7.0\na.ogg,8.1235\n"
    assert annotation.report(OnsetAnnotator("librosa"), annotations, 20.0) == [
        "note_density: 2 files by librosa, 2.00 s a file, 1 remembered from an earlier run",
        "    2 onsets, 0.10 a second",
        "    1 files without any, such as b.ogg",
    ]


def test_a_tempo_becomes_a_row_with_its_confidence(monkeypatch):
    monkeypatch.setattr(tempo, "estimate_tempo", lambda w, r: (w.sum(), r / 10_000))
    answers = {"a": (128.25, 9800), "b": (70.0, 3000), "c": (140.0, 8000)}
    annotations = {
        name: Annotation(TempoAnnotator().rows(np.array([bpm]), rate), 0.5)
        for name, (bpm, rate) in answers.items()
    }
    labels = annotation.labels_of(TempoAnnotator(), annotations)
    assert labels.to_csv() == (
        "file,time_seconds,value,confidence\na,0.0,128.25,0.98\nb,0.0,70.0,0.3\nc,0.0,140.0,0.8\n"
    )
    assert annotation.report(TempoAnnotator(), annotations, 20.0) == [
        "tempo_bpm: 3 files by tempocnn, 0.50 s a file, 0 remembered from an earlier run",
        "    70.0 to 140.0 BPM, median 128.2",
        "    confidence: least 0.30, 5 % of the files up to 0.35, 25 % 0.55, 50 % 0.80, "
        "greatest 0.98",
        "    1 files below 0.5",
        "    unsure of b: 70.0 BPM, confidence 0.30",
    ]


def test_beats_become_a_clock_or_a_name(monkeypatch, tmp_path):
    clock, none = [[0.0, -0.5], [30.0, 63.5]], [[0.0, np.nan]]
    answers = iter([(np.array(clock), 0.875), (np.array(none), 0.25)])
    monkeypatch.setattr(beats, "detect_beats", lambda *_: next(answers))
    annotator, annotations = BeatAnnotator("librosa"), {}
    for seed, name in enumerate("ab"):
        annotation.annotate(noise(seed=seed), 8000, [annotator], tmp_path)
        again = annotation.annotate(noise(seed=seed), 8000, [annotator], tmp_path)
        annotations[name] = again["beats"]
    labels = annotation.labels_of(annotator, annotations)
    assert labels.to_csv() == (
        "file,time_seconds,value,confidence\na,0.0,-0.5,0.875\na,30.0,63.5,0.875\nb,0.0,nan,0.25\n"
    )
    assert annotation.report(annotator, annotations, 60.0)[1:] == [
        "    1 of 2 files have a steady beat, 128.0 to 128.0 BPM, median 128.0; which beat begins "
        "a bar is a guess",
        "    1 files have none; a GAN with a clock leaves them out:",
        "    no steady beat: b, confidence 0.25",
    ]


@pytest.mark.parametrize("rows", [np.zeros((0, 1)), np.array([[0.0, np.nan]])])
def test_nothing_in_any_file_is_an_error(rows):
    with pytest.raises(ValueError, match="librosa found nothing in any of the 2 files"):
        annotation.labels_of(OnsetAnnotator("librosa"), dict.fromkeys("ab", Annotation(rows, 1.0)))


def test_annotators_by_name(monkeypatch):
    made = annotation.annotators(["tempo", "note_density", "beats"], "librosa", "librosa")
    assert made == [TempoAnnotator(), OnsetAnnotator("librosa"), BeatAnnotator("librosa")]
    assert annotation.annotators([]) == []
    monkeypatch.setitem(sys.modules, "madmom", None)
    assert annotation.annotators(["note_density"]) == [OnsetAnnotator("librosa")]
    assert annotation.annotators(["beats"]) == [BeatAnnotator(beats.installed_detector())]
    with pytest.raises(ValueError, match="madmom, the onset detector, is not installed: pip inst"):
        annotation.annotators(["note_density"], "madmom")
    with pytest.raises(ValueError, match="annotator 'key' must be one of note_density, tempo, b"):
        annotation.annotators(["tempo", "key"])
    with pytest.raises(ValueError, match="annotators tempo, tempo: each may stand there once"):
        annotation.annotators(["tempo", "tempo"])


def test_without_tempocnn_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"Tempo-CNN.*pip install '\.\[tempo\]'"):
        annotation.annotators(["tempo"])
    assert annotation.annotators(["note_density"]) == [OnsetAnnotator("librosa")]
