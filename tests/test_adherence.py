"""Adherence: models of clicks that do as requested, and models that do not listen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from click_model import (
    CLICK,
    DENSITY,
    RATE_HZ,
    TEMPO,
    ClickModel,
    obedient,
    settings,
    with_signals,
)

from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning import note_density
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import Signal
from musika_tf.evaluation import adherence, adherence_report
from musika_tf.evaluation.adherence import Settings


def deaf(conditioning, seed):
    return np.full(len(conditioning), [2.0, 5.0, 1.0, 8.0][seed[1]])


@pytest.fixture(scope="module")
def density_config(tiny_config):
    return with_signals(tiny_config, DENSITY)


@pytest.fixture(scope="module")
def tempo_config(tiny_config):
    return with_signals(tiny_config, TEMPO)


def measure(model, settings_):
    found = [sample for sample, _ in adherence.samples(model, settings_)]
    return adherence.results(model.config, settings_, found)


# Note density


@pytest.fixture(scope="module")
def followed(density_config):
    """Of a model that follows note density: its conditioning in each stream, and the result."""
    given = {}

    def listen(conditioning, seed):
        given.setdefault(seed, []).append(conditioning[:, 0])
        return obedient(conditioning, seed)

    (result,) = measure(ClickModel(density_config, listen), settings())
    return given, result


def test_a_model_that_follows_note_density(followed):
    _, result = followed
    assert list(result.constants) == [0.17, 0.33, 0.5, 0.67, 0.83]
    assert result.metrics["pearson_r"] > 0.99
    assert result.metrics["slope"] == pytest.approx(1.0, abs=0.1)
    assert result.metrics["mean_absolute_error"] < 0.03
    for value, group in result.constants.items():
        assert len(group) == 2
        wanted = note_density.unscale(value, 20.0)
        for sample in group:
            # Clicks counted in 17 s: one more or less at the ends.
            assert sample.details["onsets_per_second"] == pytest.approx(wanted, abs=1.01 / 17)
    assert len(result.walks) == 2
    assert result.walk_metrics["pearson_r"] > 0.9
    assert result.walk_metrics["mean_absolute_error"] < 0.05
    # Chance is far from it.
    assert result.chance["pearson_r"].high < 0.7 < result.metrics["pearson_r"]
    assert abs(result.chance["pearson_r"].mean) < 0.05
    assert result.chance["mean_absolute_error"].mean > 0.15
    assert abs(result.walk_chance["pearson_r"].mean) < 0.3
    assert result.walk_chance["mean_absolute_error"].mean > 0.1


def test_a_model_that_does_not_listen(density_config):
    (result,) = measure(ClickModel(density_config, deaf), settings(n_pieces=4))
    assert abs(result.metrics["pearson_r"]) < 1e-6
    chance = result.chance["mean_absolute_error"]
    assert chance.low < result.metrics["mean_absolute_error"] < chance.high
    assert abs(result.walk_metrics["pearson_r"]) < 0.4


def test_metrics_of_walks_are_means_of_scipys(followed):
    _, result = followed
    rs = [scipy.stats.pearsonr(walk.requested, walk.measured)[0] for walk in result.walks]
    assert result.walk_metrics["pearson_r"] == pytest.approx(np.mean(rs))
    errors = [np.abs(walk.requested - walk.measured).mean() for walk in result.walks]
    assert result.walk_metrics["mean_absolute_error"] == pytest.approx(np.mean(errors))


def test_steps_are_compared_at_their_time_away_from_the_ends(density_config):
    """A burst in the middle of one step is heard at that step, and the ends are left out."""
    step_seconds, first_seconds = 4096 / RATE_HZ, 768 / 2 / RATE_HZ
    mono = np.zeros(10 * RATE_HZ, np.float32)
    begin = round((first_seconds + 20.5 * step_seconds) * RATE_HZ)
    mono[begin : begin + len(CLICK)] = CLICK
    heard = adherence.hear_note_density(mono, density_config, "librosa")
    assert heard.steps[heard.values.argmax()] == 20
    times = first_seconds + (heard.steps + 0.5) * step_seconds
    assert times[0] - step_seconds < 1.5 <= times[0]
    assert times[-1] < 8.5 <= times[-1] + step_seconds
    # The peak of one kernel of half a second.
    peak = np.log1p(1 / (0.5 * np.sqrt(2 * np.pi))) / np.log1p(20.0)
    assert heard.values.max() == pytest.approx(peak, abs=0.002)
    assert heard.details["onsets_per_second"] == pytest.approx(1 / 7)


def test_requested_is_the_conditioning_of_the_model(followed, density_config):
    given, result = followed
    assert sorted(given) == [(5, 0), (5, 1)]
    for walk in result.walks:
        *constants, conditioning = given[5, walk.task.index]
        assert [values[0] for values in constants] == pytest.approx(list(result.constants))
        np.testing.assert_allclose(walk.requested, conditioning[walk.steps], atol=1e-6)
        times = centres_seconds(density_config, 0, len(conditioning))[walk.steps]
        np.testing.assert_array_equal(walk.times_seconds, times)


def test_other_walks_are_not_the_one_that_was_requested(followed, density_config):
    for walk in followed[1].walks:
        others = list(adherence._other_walks(density_config, settings(), walk))
        distances = [np.abs(other - walk.requested).max() for other in others]
        assert min(distances) > 0.02
        assert len({other[0] for other in others}) == len(others) == 200


def test_silence_follows_nothing(density_config):
    (result,) = measure(ClickModel(density_config, lambda t, _: 0.0 * t[:, 0]), settings(n_walks=1))
    assert result.metrics["pearson_r"] == 0.0
    assert result.metrics["mean_absolute_error"] == pytest.approx(0.5)
    assert result.walk_metrics["pearson_r"] == 0.0


# Tempo


def test_a_model_that_follows_tempo(tempo_config):
    model = ClickModel(tempo_config, lambda conditioning, _: conditioning[:, 0] / 60)
    made = settings(24.0, 1, tempos_bpm=(120, 125, 130, 135, 140, 145))
    (result,) = measure(model, made)
    assert result.metrics["share_within"] == 1.0
    assert result.metrics["share_within_octaves"] == 1.0
    assert result.metrics["pearson_r"] > 0.99
    assert result.metrics["mean_absolute_error"] < 1.0
    assert result.walks == () and result.walk_metrics is None
    for value, (sample,) in result.constants.items():
        np.testing.assert_array_equal(sample.requested, value)
        assert sample.measured_mean == pytest.approx(value, rel=0.01)
        assert 0.3 < sample.details["confidence"] <= 1.0
    # By chance: over all pairs of what was requested and what was measured.
    measured = [sample.measured_mean for (sample,) in result.constants.values()]
    pairs = np.divide.outer(measured, list(result.constants))
    wanted = np.mean(np.abs(pairs - 1) <= 0.04)
    assert 0.3 < wanted < 0.5
    assert result.chance["share_within"].mean == pytest.approx(wanted, abs=0.03)


def test_half_the_tempo_is_counted_apart(tempo_config):
    model = ClickModel(tempo_config, lambda conditioning, _: conditioning[:, 0] / 120)
    (result,) = measure(model, settings(24.0, 1, tempos_bpm=(150, 160, 170)))
    assert result.metrics["share_within"] == 0.0
    assert result.metrics["share_within_octaves"] == 1.0
    assert result.metrics["mean_absolute_error"] == pytest.approx(80, abs=2)
    assert result.metrics["slope"] == pytest.approx(0.5, abs=0.05)
    assert result.metrics["slope_octaves"] == pytest.approx(1.0, abs=0.1)
    assert result.metrics["mean_absolute_error_octaves"] < 1.0
    assert result.metrics["pearson_r_octaves"] > 0.99


# What is asked


def test_constants_out_of_range_are_left_out(tiny_config):
    config = with_signals(tiny_config, dataclasses.replace(TEMPO, maximum=128.0))
    asked = settings(n_pieces=1, tempos_bpm=(120, 125, 130))
    values = [task.control.value for task in adherence.plan(config, asked)]
    assert values == [120.0, 125.0]


def test_other_signals_are_given_the_middle_and_unknown_ones_are_skipped(tiny_config):
    energy = Signal("energy", "any", -1.0, 3.0, "step")
    config = with_signals(tiny_config, TEMPO, energy, DENSITY)
    tasks = adherence.plan(config, settings(n_pieces=2, n_walks=3))
    by_signal = [task.signal.name for task in tasks]
    assert by_signal == ["tempo_bpm"] * 18 + ["note_density"] * 13
    assert adherence.controls(config, tasks[0]) == (
        controls_lib.Constant(120),
        controls_lib.Constant(1.0),
        controls_lib.Constant(0.5),
    )
    assert adherence.controls(config, tasks[-1])[2] == controls_lib.RandomWalk(0.17, 0.83)
    names = [task.name for task in tasks]
    assert names[0] == "tempo_bpm-120-0"
    assert names[-4:-2] == ["note_density-0.83-1", "note_density-random_walk-0"]
    assert len(set(names)) == len(names)


def test_a_density_of_a_whole_piece_has_no_walks(tiny_config):
    config = with_signals(tiny_config, dataclasses.replace(DENSITY, rate="piece"))
    tasks = adherence.plan(config, settings())
    assert {type(task.control) for task in tasks} == {controls_lib.Constant}


@pytest.mark.parametrize(
    ("minimum", "maximum", "expected"),
    [(110, 170, [120, 125, 130, 135, 140, 145, 150, 155, 160]),
     (50, 130, [63, 70, 77, 83, 90, 97, 103, 110, 117])],
)  # fmt: skip
def test_tempos_lie_in_the_middle_of_the_range(minimum, maximum, expected):
    signal = dataclasses.replace(TEMPO, minimum=minimum, maximum=maximum)
    assert [control.value for control in settings().controls(signal)] == expected


BAD_PLANS = {
    "unconditional": ((), {}, "unconditional, so there is nothing that it could follow"),
    "unknown": (
        (Signal("energy", "any", -1.0, 3.0, "step"),),
        {},
        "how to measure energy in music: adherence is measured of note_density and tempo_bpm",
    ),
    "out of range": (
        (dataclasses.replace(TEMPO, minimum=60, maximum=121),),
        {"tempos_bpm": (120, 125, 130)},
        r"of the constants 120, 125, .* 1 are inside the model's range, 60 to 121 \(beats",
    ),
    "short": ((DENSITY,), {"seconds": 3.0}, "seconds=3 is too short .* give at least 3.7"),
}


@pytest.mark.parametrize("what", BAD_PLANS)
def test_what_cannot_be_measured_is_named(tiny_config, tmp_path, what):
    signals_, values, message = BAD_PLANS[what]
    model = ClickModel(with_signals(tiny_config, *signals_), obedient)
    with pytest.raises(ValueError, match=message):
        adherence_report.evaluate(model, settings(**values), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shortest_samples_can_be_measured(density_config):
    made = settings(3.75, note_densities=(0.5, 0.7), n_pieces=1)
    (result,) = measure(ClickModel(density_config, obedient), made)
    assert min(len(walk.steps) for walk in result.walks) >= 3


def test_bad_settings():
    with pytest.raises(ValueError, match="n_walks=-1"):
        Settings(n_walks=-1)
    with pytest.raises(ValueError, match="onset detector 'ear'"):
        Settings(onset_detector="ear")
