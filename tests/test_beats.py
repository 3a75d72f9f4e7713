"""Beats: of tracks whose every beat is known, and of what has no beat."""

import importlib.util

import numpy as np
import pytest

from musika_tf.conditioning import beats
from musika_tf.conditioning.beats import Clock

RATE_HZ = 22_050
SECONDS = 40
needs_madmom = pytest.mark.skipif(
    importlib.util.find_spec("madmom") is None, reason="the extra `madmom` is not installed"
)


def at_times(sound: np.ndarray, times: np.ndarray) -> np.ndarray:
    """A sound at each of these times, mixed."""
    mixed = np.zeros(SECONDS * RATE_HZ + len(sound), np.float32)
    for begin in np.rint(times[times < SECONDS] * RATE_HZ).astype(int):
        mixed[begin : begin + len(sound)] += sound
    return mixed[: SECONDS * RATE_HZ]


def track(beat_times: np.ndarray, swing: float = 0.1) -> np.ndarray:
    """Bass drum on each beat, louder hats between, shuffled sixteenths, a chord a bar of four."""
    rng, t = np.random.default_rng(0), np.arange(RATE_HZ // 4) / RATE_HZ
    kick = 0.5 * np.sin(2 * np.pi * 55 * t) * np.exp(-t / 0.05)
    hat = np.diff(rng.normal(size=len(t) + 1)) * np.exp(-t / 0.02)
    grid = np.interp(np.arange(4 * len(beat_times)) / 4, np.arange(len(beat_times)), beat_times)
    late = swing * np.median(np.diff(grid))
    x = at_times(kick, beat_times) + at_times(0.2 * hat, grid[2::4])
    x += at_times(0.02 * hat, grid[1::4] + late) + at_times(0.02 * hat, grid[3::4] + late)
    for bar, begin in enumerate(beat_times[::4]):
        notes = 220 * 2 ** (np.array([0, 4, 7]) / 12 + [0, 5 / 12, 7 / 12][bar % 3])
        long = np.arange(round(4 * RATE_HZ * (beat_times[1] - beat_times[0]))) / RATE_HZ
        first = round(begin * RATE_HZ)
        chord = 0.02 * np.sin(2 * np.pi * notes[:, None] * long).sum(axis=0)
        x[first : first + len(long)] += chord[: len(x) - first]
    return x.astype(np.float32)


def steady(tempo_bpm: float, first_seconds: float) -> np.ndarray:
    return np.arange(first_seconds, SECONDS, 60 / tempo_bpm)


@pytest.fixture
def estimated(monkeypatch):
    """Sets what the first estimate of the tempo is."""

    def set_bpm(tempo_bpm):
        monkeypatch.setattr(beats, "_first_tempo", lambda *_: tempo_bpm)

    return set_bpm


@pytest.mark.parametrize(
    ("tempo_bpm", "first_seconds", "estimate_bpm"),
    [(128.37, 0.31, 129.6), (95.0, 1.1, 93.0), (172.4, 0.05, 86.5), (150.0, 0.2, 150.0)],
)
def test_every_beat_of_a_steady_track_is_found(tempo_bpm, first_seconds, estimate_bpm, estimated):
    estimated(estimate_bpm)
    times = steady(tempo_bpm, first_seconds)
    points, confidence = beats.detect_beats(track(times), RATE_HZ, "librosa")
    assert confidence > 0.9
    assert points[:, 0].tolist() == [0.0, SECONDS]
    found = np.interp(times, *points.T)
    # To 10 ms from the first beat to the last, and each fourth begins a bar.
    first = 4.0 * np.round(found[0] / 4.0)
    errors_seconds = (found - first - np.arange(len(times))) * 60.0 / tempo_bpm
    assert np.abs(errors_seconds).max() < 0.01


def test_another_rate_makes_no_difference(estimated):
    estimated(125.0)
    times = steady(124.0, 0.4)
    double = track(times).repeat(2)
    points, _ = beats.detect_beats(double, 2 * RATE_HZ, "librosa")
    found = np.interp(times, *points.T)
    np.testing.assert_allclose((found + 2) % 4 - 2, (np.arange(len(times)) + 2) % 4 - 2, atol=0.02)


UNSTEADY = {
    "it drifts by 3 %": track(np.cumsum(60 / np.linspace(124, 128, 82))),
    "it changes": track(np.cumsum([60 / 120] * 40 + [60 / 126] * 41)),
    "beats are loose": track(
        np.cumsum(np.random.default_rng(1).normal(loc=0.5, scale=0.04, size=78))
    ),
    "noise": 0.1 * np.random.default_rng(0).normal(size=SECONDS * RATE_HZ).astype(np.float32),
    "a constant": np.full(SECONDS * RATE_HZ, 0.5, np.float32),
    "silence": np.zeros(SECONDS * RATE_HZ, np.float32),
    "a second": track(steady(120, 0.5))[:RATE_HZ],
    "nothing": np.zeros(0, np.float32),
}


@pytest.mark.parametrize("what", UNSTEADY)
def test_what_is_not_steady_has_no_beats(what, estimated):
    estimated(122.0)
    points, confidence = beats.detect_beats(UNSTEADY[what], RATE_HZ, "librosa")
    np.testing.assert_array_equal(points, [[0.0, np.nan]])
    assert 0.0 <= confidence < beats.MIN_STEADINESS


@pytest.mark.parametrize("detector", ["tempocnn", "librosa"])
def test_with_the_tempo_of_a_detector(detector):
    if detector == "tempocnn":
        pytest.importorskip("tempocnn", reason="the extra `tempo` is not installed")
    clock = beats.estimate_clock(track(steady(126.5, 0.3)), RATE_HZ, detector)
    assert clock.tempo_bpm == pytest.approx(126.5, abs=0.02)
    assert clock.first_seconds % (240 / 126.5) == pytest.approx(0.3, abs=0.01)


def test_positions_of_a_clock():
    clock = Clock(tempo_bpm=120.0, first_seconds=0.5)
    np.testing.assert_allclose(clock.positions(np.array([0.0, 0.5, 10.0])), [-1.0, 0.0, 19.0])


@needs_madmom
def test_madmom_follows_a_tempo_that_changes():
    times = np.cumsum(60 / np.linspace(110, 130, 79))
    points, confidence = beats.detect_beats(track(times, swing=0.0), RATE_HZ, "madmom")
    found = np.interp(times[8:-4], *points.T)
    assert np.abs(found - np.rint(found)).max() < 0.1
    np.testing.assert_allclose(np.diff(found), 1.0, atol=0.1)
    assert 0.3 < confidence <= 1.0


def test_who_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert beats.installed_detector() == "librosa"
    for detector, message in {
        "tempocnn": r"Tempo-CNN.*\[tempo\]'.*--beat_detector=librosa",
        "madmom": r"madmom, the beat tracker, is not installed: pip install '\.\[madmom\]'",
        "ear": "beat detector 'ear' must be one of tempocnn, librosa, madmom",
    }.items():
        with pytest.raises(ValueError, match=message):
            beats.detect_beats(np.zeros(9, np.float32), RATE_HZ, detector)
    with pytest.raises(ValueError, match="beats are detected in mono audio"):
        beats.detect_beats(np.zeros((9, 2), np.float32), RATE_HZ, "librosa")
