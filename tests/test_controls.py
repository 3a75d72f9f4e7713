"""Controls: walks that stay and go on, curves at the right time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flags.conditioning import parse_signal
from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import ConditioningConfig, Config, Signal
from musika_tf.signals import KNOWN_SIGNALS

DENSITY = KNOWN_SIGNALS["note_density"]
TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")
BEATS = KNOWN_SIGNALS["beats"]
ENERGY = Signal("energy", "share", -1.0, 3.0, "step")
CONFIG = Config(conditioning=ConditioningConfig((DENSITY, TEMPO)))
STEP_SECONDS = 4096 / 22_050


def take(control, n_steps, start=0, seed=(0, 0)):
    return control.values(CONFIG, seed, start, n_steps)


def test_centre_of_a_step_is_the_middle_of_its_frames():
    audio = CONFIG.audio
    starts = np.arange(3 * 16, 4 * 16) * audio.hop_size  # of the frames of step 3
    middle = (starts[0] + starts[-1] + audio.window_size) / 2 / audio.sample_rate_hz
    assert centres_seconds(CONFIG, 3, 1) == pytest.approx([middle])
    np.testing.assert_allclose(np.diff(centres_seconds(CONFIG, 5, 4)), STEP_SECONDS)


# Controls


def test_constant():
    np.testing.assert_array_equal(take(controls_lib.parse("128", TEMPO), 8, -3), np.full(8, 128.0))


def test_random_walk_does_not_depend_on_where_one_looks():
    walk = controls_lib.parse("random_walk", TEMPO)
    whole = take(walk, 300)
    assert len(np.unique(whole)) == 300
    np.testing.assert_array_equal(take(walk, 40, start=200), whole[200:240])
    # Before the piece its first value is held.
    np.testing.assert_array_equal(take(walk, 8, start=-5), [whole[0]] * 5 + [*whole[:3]])
    np.testing.assert_array_equal(take(walk, 8, start=-50), [whole[0]] * 8)
    assert np.abs(take(walk, 300, seed=(0, 1)) - whole).max() > 1.0


def test_random_walk_by_its_formula():
    """Step by step: the numbers of a seed are those of every release."""
    rng = np.random.default_rng([7, 0, 1])
    position, expected = rng.uniform(0.0, 60.0), []
    for move in rng.standard_normal(400):
        folded = position % 120.0
        expected.append(110.0 + min(folded, 120.0 - folded))
        position += 0.07 * np.sqrt(STEP_SECONDS) * 60.0 * move
    found = take(controls_lib.RandomWalk(110.0, 170.0), 400, seed=(7, 0, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


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
    values = take(controls_lib.parse(str(path), DENSITY), 80, start=4)
    centres = (np.arange(4, 84) + 0.5) * STEP_SECONDS + 384 / 22_050
    np.testing.assert_allclose(values, 0.1 * np.clip(centres, 1.0, 9.0), atol=1e-12)


def test_curve_of_one_point_is_a_constant(tmp_path):
    (tmp_path / "curve.csv").write_text("time_seconds, value\n5, 120\n\n")
    values = take(controls_lib.read_curve(tmp_path / "curve.csv", TEMPO), 10)
    np.testing.assert_array_equal(values, np.full(10, 120.0))


def test_signals_stand_side_by_side(tmp_path):
    (tmp_path / "curve.csv").write_text("time_seconds,value\n0,0\n10,1\n")
    texts = {"tempo_bpm": "128", "note_density": str(tmp_path / "curve.csv")}
    controls = controls_lib.parse_all(texts, CONFIG.conditioning.signals)
    block = controls_lib.values(controls, CONFIG, (3, 0), 0, 16)
    assert (block.shape, block.dtype) == ((16, 2), np.float32)
    np.testing.assert_array_equal(block[:, 1], np.full(16, 128.0, np.float32))
    expected = centres_seconds(CONFIG, 0, 16) / 10
    np.testing.assert_allclose(block[:, 0], expected, atol=1e-6)


def test_each_signal_walks_on_its_own():
    controls = [controls_lib.RandomWalk(0.0, 1.0)] * 2
    config = dataclasses.replace(CONFIG, conditioning=ConditioningConfig((DENSITY, ENERGY)))
    block = controls_lib.values(controls, config, (0, 0), 0, 100)
    assert np.abs(block[:, 0] - block[:, 1]).max() > 0.1


# The clock


def beats(tempo, start, n_steps):
    return take(controls_lib.Beats(tempo), n_steps, start)


def test_beats_of_a_constant_are_exact_anywhere():
    hour = round(3600 / STEP_SECONDS)
    for start in (-200, 0, hour, 1000 * hour):
        expected = centres_seconds(CONFIG, start, 50) * 128.0 / 60.0
        np.testing.assert_allclose(
            beats(controls_lib.Constant(128.0), start, 50), expected, rtol=1e-14
        )


@pytest.mark.parametrize("times", [(1.0, 4.0, 9.0), (-3.0, 2.0, 5.5)])
def test_beats_of_a_curve_are_its_integral(times):
    tempo = controls_lib.Curve(times, (90.0, 180.0, 120.0))
    fine = np.arange(0, 15, 1e-4) + 5e-5
    integral = np.cumsum(np.interp(fine, *tempo.points(CONFIG, (), 0))) * 1e-4 / 60.0
    centres = centres_seconds(CONFIG, 0, 80)
    expected = np.interp(centres, fine + 5e-5, integral)
    np.testing.assert_allclose(beats(tempo, 0, 80), expected, atol=1e-6)
    np.testing.assert_array_equal(beats(tempo, 30, 20), beats(tempo, 0, 80)[30:50])
    # Before the piece beats go on at the tempo that it begins with.
    before = centres_seconds(CONFIG, -9, 9) * np.interp(0.0, times, tempo.values_at_times) / 60
    np.testing.assert_allclose(beats(tempo, -9, 9), before)


def test_beats_of_a_walk_go_by_its_tempo_at_each_step():
    walk = controls_lib.RandomWalk(110.0, 170.0)
    tempos, found = take(walk, 400), beats(walk, 0, 400)
    paces = (tempos[1:] + tempos[:-1]) / 2 * STEP_SECONDS / 60
    np.testing.assert_allclose(np.diff(found), paces, rtol=1e-9)
    assert found[0] == pytest.approx(tempos[0] / 60 * centres_seconds(CONFIG, 0, 1)[0])
    np.testing.assert_array_equal(beats(walk, 300, 9), found[300:309])


def test_a_clock_is_asked_for_by_its_tempo():
    config = dataclasses.replace(CONFIG, conditioning=ConditioningConfig((DENSITY, BEATS)))
    texts = {"tempo_bpm": "128", "note_density": "0.5"}
    controls = controls_lib.parse_all(texts, config.conditioning.signals)
    assert controls[1] == controls_lib.Beats(controls_lib.Constant(128.0))
    found = controls_lib.values(controls, config, (0, 0), 10**6, 40)
    expected = np.mod(centres_seconds(CONFIG, 10**6, 40) * 128 / 60, 4)
    np.testing.assert_allclose(found[:, 1], expected, atol=1e-6)
    with pytest.raises(ValueError, match="tempo_bpm=30 must be from 40 to 240"):
        controls_lib.parse_all(texts | {"tempo_bpm": "30"}, config.conditioning.signals)
    with pytest.raises(ValueError, match="no signal beats: it follows note_density, tempo_bpm"):
        controls_lib.parse_all(texts | {"beats": "1"}, config.conditioning.signals)
    found = controls_lib.parse_all({"note_density": "0"}, config.conditioning.signals)
    assert found[1] == controls_lib.Beats(controls_lib.Constant(140.0))


def test_a_clock_may_be_asked_for_its_own_tempos_alone():
    clock = dataclasses.replace(BEATS, tempos_bpm=(50.0, 130.0))
    (found,) = controls_lib.parse_all({}, (clock,))
    assert found == controls_lib.Beats(controls_lib.Constant(90.0))
    with pytest.raises(ValueError, match="tempo_bpm=140 must be from 50 to 130"):
        controls_lib.parse_all({"tempo_bpm": "140"}, (clock,))
    with pytest.raises(ValueError, match=r"tempos_bpm=\(130.0, 50.0\) must be two .* rising"):
        dataclasses.replace(BEATS, tempos_bpm=(130.0, 50.0))
    config = dataclasses.replace(CONFIG, conditioning=ConditioningConfig((clock,)))
    assert Config.from_json(config.to_json()) == config
    assert parse_signal(str(clock)) == clock and str(clock).endswith(":50:130")


def test_what_is_not_told_is_the_middle_and_said():
    told = {"tempo_bpm": "120"}
    found = controls_lib.parse_all(told, (ENERGY, TEMPO))
    assert found[0] == controls_lib.Constant(1.0)
    (line,) = controls_lib.untold(told, (ENERGY, TEMPO))
    assert line.startswith(
        "energy is 1: --condition=energy=VALUE takes a number from -1 to 3 (share)"
    )
    (line,) = controls_lib.untold({}, (BEATS,))
    assert line.startswith("tempo_bpm is 140: --tempo_bpm=VALUE takes a number from 40 to 240")


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
        ({"tempo_bpm": "120"}, (), "has no signal tempo_bpm: it is unconditional"),
        ({"loudness": "1"}, (DENSITY, TEMPO), "it follows note_density, tempo_bpm"),
    ],
)
def test_texts_and_signals_must_match(texts, of, message):
    with pytest.raises(ValueError, match=message):
        controls_lib.parse_all(texts, of)
