"""Note density: the kernel density by value, bandwidths, the scale."""

import time

import numpy as np
import pytest
from scipy import stats

from musika_tf.conditioning import note_density


@pytest.mark.parametrize("duration_seconds", [20, 600, 7200])
def test_density_is_that_of_scipy(duration_seconds):
    rng = np.random.default_rng(0)
    onsets = rng.uniform(0, duration_seconds, 3 * duration_seconds)
    times = rng.permutation(np.linspace(-5, duration_seconds + 5, 4001))
    expected = stats.gaussian_kde(onsets, bw_method=0.004)(times) * len(onsets)
    density = note_density.onsets_per_second(onsets, times, min_bandwidth_seconds=1e-6)
    np.testing.assert_allclose(density, expected, rtol=1e-9, atol=1e-12 * expected.max())
    assert expected.max() > 3


def test_other_factors_are_those_of_scipy():
    onsets = np.random.default_rng(1).normal(60, 20, 200)
    times = np.linspace(0, 120, 333)
    expected = stats.gaussian_kde(onsets, bw_method=0.1)(times) * 200
    density = note_density.onsets_per_second(onsets, times, bandwidth_factor=0.1)
    np.testing.assert_allclose(density, expected, rtol=1e-9, atol=1e-12)


def test_long_pieces_are_as_by_factor_and_short_ones_not_narrower():
    long, short = np.linspace(0, 600, 1000), np.linspace(0, 60, 100)
    assert note_density.bandwidth_seconds(long) == pytest.approx(0.004 * np.std(long, ddof=1))
    assert note_density.bandwidth_seconds(long) > 0.6
    assert note_density.bandwidth_seconds(short) == 0.5
    # A sum of normal densities by hand.
    times = np.array([-1.0, 0.0, 30.1, 61.0])
    expected = stats.norm(short[:, None], 0.5).pdf(times).sum(axis=0)
    density = note_density.onsets_per_second(short, times)
    np.testing.assert_allclose(density, expected, rtol=1e-9)
    assert density[2] == pytest.approx(100 / 60, rel=0.02)


@pytest.mark.parametrize("onsets", [[], [3.0], [3.0, 3.0]])
def test_fewer_than_two_distinct_onsets(onsets):
    times = np.array([0.0, 2.5, 3.0])
    expected = len(onsets) * stats.norm(3.0, 0.5).pdf(times)
    density = note_density.onsets_per_second(np.array(onsets), times)
    np.testing.assert_allclose(density, expected, atol=1e-12)


def test_the_density_of_a_piece_sums_to_its_onsets():
    onsets = np.random.default_rng(0).uniform(10, 50, 150)
    times = np.arange(0, 60, 0.01)
    assert note_density.onsets_per_second(onsets, times).sum() * 0.01 == pytest.approx(150)


def test_hours_of_onsets_take_a_moment():
    onsets = np.random.default_rng(0).uniform(0, 20_000, 100_000)
    begin = time.perf_counter()
    density = note_density.onsets_per_second(onsets, np.linspace(0, 20_000, 100_000))
    assert time.perf_counter() - begin < 30
    assert np.median(density) == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("name", ["bandwidth_factor", "min_bandwidth_seconds"])
def test_bandwidths_must_be_above_zero(name):
    with pytest.raises(ValueError, match=f"{name}=0.0 must be above 0"):
        note_density.onsets_per_second(np.ones(3), np.ones(3), **{name: 0.0})


def test_scale_is_logarithmic_and_comes_back():
    density = np.array([0.0, 0.5, 2.0, 20.0])
    expected = np.log([1.0, 1.5, 3.0, 21.0]) / np.log(21.0)
    np.testing.assert_allclose(note_density.scale(density, 20.0), expected)
    np.testing.assert_allclose(note_density.unscale(expected, 20.0), density)
    assert note_density.scale(np.array(50.0), 20.0) == 1.0


@pytest.mark.parametrize("maximum", [0.0, -1.0, float("nan")])
def test_the_maximum_must_be_above_zero(maximum):
    with pytest.raises(ValueError, match="onsets per second must be above 0"):
        note_density.scale(np.ones(2), maximum)
