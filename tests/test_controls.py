"""Controls: walks that stay and go on, curves at the right time."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from musika_tf.conditioning import controls as controls_lib
from musika_tf.config import KNOWN_SIGNALS, ConditioningConfig, Config, Signal

DENSITY = KNOWN_SIGNALS["note_density"]
TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")
ENERGY = Signal("energy", "share", -1.0, 3.0, "step")
CONFIG = Config(conditioning=ConditioningConfig((DENSITY, TEMPO)))
STEP_SECONDS = 4096 / 22_050


def take(control, n_steps, n_blocks=1, seed=(0, 0)):
    found = itertools.islice(control.blocks(CONFIG, seed, n_steps), n_blocks)
    return np.concatenate(list(found))


def test_centre_of_a_step_is_the_middle_of_its_frames():
    audio = CONFIG.audio
    starts = np.arange(3 * 16, 4 * 16) * audio.hop_size  # of the frames of step 3
    middle = (starts[0] + starts[-1] + audio.window_size) / 2 / audio.sample_rate_hz
    assert controls_lib.centres_seconds(CONFIG, 3, 1) == pytest.approx([middle])
    np.testing.assert_allclose(np.diff(controls_lib.centres_seconds(CONFIG, 5, 4)), STEP_SECONDS)


# Controls


def test_constant():
    np.testing.assert_array_equal(take(controls_lib.parse("128", TEMPO), 8, 3), np.full(24, 128.0))


def test_random_walk_does_not_depend_on_how_it_is_cut():
    walk = controls_lib.parse("random_walk", TEMPO)
    whole = take(walk, 300)
    assert len(np.unique(whole)) == 300
    np.testing.assert_array_equal(take(walk, 60, 5), whole)
    # A piece made longer keeps its beginning.
    np.testing.assert_array_equal(take(walk, 500)[:300], whole)
    assert np.abs(take(walk, 300, seed=(0, 1)) - whole).max() > 1.0


def test_random_walk_is_uniform_in_its_range_and_as_fast_as_it_says():
    paths = [take(controls_lib.RandomWalk(110.0, 170.0), 4000, seed=(i,)) for i in range(40)]
    values = np.stack(paths)
    assert values.min() >= 110.0 and values.max() <= 170.0
    shares = np.histogram(values, bins=6, range=(110, 170))[0] / values.size
    np.testing.assert_allclose(shares, 1 / 6, atol=0.03)
    starts = np.array([path[0] for path in paths])
    assert starts.min() < 120 and starts.max() > 160
    # Away from the ends nothing is reflected.
    inside = (values[:, :-1] > 120) & (values[:, :-1] < 160)
    moves = np.diff(values)[inside] / 60.0
    assert moves.std() == pytest.approx(0.07 * np.sqrt(STEP_SECONDS), rel=0.02)
    assert moves.mean() == pytest.approx(0.0, abs=0.001)


def test_random_walk_in_a_part_of_the_range():
    values = take(controls_lib.parse("random_walk:0.2:0.3", DENSITY), 5000)
    assert 0.2 <= values.min() < 0.21 and 0.29 < values.max() <= 0.3


def test_curve_is_read_at_the_centres(tmp_path):
    path = tmp_path / "curve.csv"
    # The signal is its own clock: 0.1 a second from 1 s to 9 s.
    path.write_text("time_seconds,value\n1,0.1\n9,0.9\n")
    values = take(controls_lib.parse(str(path), DENSITY), 7, 12)
    centres = (np.arange(84) + 0.5) * STEP_SECONDS + 384 / 22_050
    np.testing.assert_allclose(values, 0.1 * np.clip(centres, 1.0, 9.0), atol=1e-12)


def test_curve_of_one_point_is_a_constant(tmp_path):
    (tmp_path / "curve.csv").write_text("time_seconds, value\n5, 120\n\n")
    values = take(controls_lib.read_curve(tmp_path / "curve.csv", TEMPO), 10)
    np.testing.assert_array_equal(values, np.full(10, 120.0))


def test_blocks_put_the_signals_side_by_side(tmp_path):
    (tmp_path / "curve.csv").write_text("time_seconds,value\n0,0\n10,1\n")
    texts = {"tempo_bpm": "128", "note_density": str(tmp_path / "curve.csv")}
    controls = controls_lib.parse_all(texts, CONFIG.conditioning.signals)
    block = next(controls_lib.blocks(controls, CONFIG, (3, 0), 16))
    assert (block.shape, block.dtype) == ((16, 2), np.float32)
    np.testing.assert_array_equal(block[:, 1], np.full(16, 128.0, np.float32))
    expected = controls_lib.centres_seconds(CONFIG, 0, 16) / 10
    np.testing.assert_allclose(block[:, 0], expected, atol=1e-6)


def test_each_signal_walks_on_its_own():
    controls = [controls_lib.RandomWalk(0.0, 1.0)] * 2
    config = dataclasses.replace(CONFIG, conditioning=ConditioningConfig((DENSITY, ENERGY)))
    block = next(controls_lib.blocks(controls, config, (0, 0), 100))
    assert np.abs(block[:, 0] - block[:, 1]).max() > 0.1


# Mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100", r"^tempo_bpm=100 must be from 110 to 170 \(beats per minute\)$"),
        ("nan", "tempo_bpm=nan must be from 110 to 170"),
        ("random_walk:90:120", "random_walk:90:120 must be from 110 to 170"),
        ("random_walk:120", "must be random_walk or random_walk:MINIMUM:MAXIMUM"),
        ("random_walk:120:fast", "must be random_walk or random_walk:MINIMUM:MAXIMUM"),
        ("random_walk:120:120", "must be random_walk or random_walk:MINIMUM:MAXIMUM"),
        ("fast", "tempo_bpm=fast must be a number from 110 to 170 .* there is no such file"),
    ],
)
def test_bad_text_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        controls_lib.parse(text, TEMPO)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line must be time_seconds,value"),
        ("time,value\n0,1\n", "begins with 'time,value'; its first line must be time_seconds,val"),
        ("time_seconds,value\n", "holds no point"),
        ("time_seconds,value\n0,120\n1,high\n", "line 3: '1,high' is not a time in seconds"),
        ("time_seconds,value\n0,120,5\n", "line 2: '0,120,5' is not"),
        ("time_seconds,value\nnan,120\n", "line 2: 'nan,120' is not"),
        ("time_seconds,value\n0,120\n1,99\n", "line 3: tempo_bpm=99 must be from 110 to 170"),
        ("time_seconds,value\n2,120\n2,130\n", "times must rise, and 2 comes after 2"),
    ],
)
def test_bad_curve_is_named(tmp_path, text, message):
    (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(ValueError, match=f"curve.csv.*{message}"):
        controls_lib.parse(str(tmp_path / "curve.csv"), TEMPO)


@pytest.mark.parametrize(
    ("texts", "of", "message"),
    [
        ({}, (DENSITY,), r"follows note_density: give --note_density=VALUE with .* from 0 to 1"),
        ({}, (ENERGY,), r"give --condition=energy=VALUE with a number from -1 to 3 \(share\)"),
        ({"tempo_bpm": "120"}, (), "has no signal tempo_bpm: it is unconditional"),
        ({"loudness": "1"}, (DENSITY, TEMPO), "it follows note_density, tempo_bpm"),
    ],
)
def test_texts_and_signals_must_match(texts, of, message):
    with pytest.raises(ValueError, match=message):
        controls_lib.parse_all(texts, of)
