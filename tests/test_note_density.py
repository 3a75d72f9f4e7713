"""Note density: the kernel density by value, bandwidths, the scale."""

import numpy as np
import pytest

from musika_tf.conditioning import note_density


def sum_of_normals(onsets: np.ndarray, times: np.ndarray, deviation: float) -> np.ndarray:
    exponents = -0.5 * np.square((times[:, None] - onsets) / deviation)
    return np.exp(exponents).sum(axis=1) / (deviation * np.sqrt(2 * np.pi))


@pytest.mark.parametrize("duration_seconds", [20, 600])
@pytest.mark.parametrize("factor", [0.004, 0.1])
def test_density_is_a_sum_of_normal_densities(duration_seconds, factor, monkeypatch):
    monkeypatch.setattr(note_density, "BANDWIDTH_FACTOR", factor)
    monkeypatch.setattr(note_density, "MIN_BANDWIDTH_SECONDS", 1e-6)
    rng = np.random.default_rng(0)
    onsets = rng.uniform(0, duration_seconds, 3 * duration_seconds)
    times = rng.permutation(np.linspace(-5, duration_seconds + 5, 4001))
    expected = sum_of_normals(onsets, times, factor * np.std(onsets, ddof=1))
    density = note_density.onsets_per_second(onsets, times)
    np.testing.assert_allclose(density, expected, rtol=1e-9, atol=1e-12 * expected.max())
    assert expected.max() > 3


def test_long_pieces_are_as_by_factor_and_short_ones_not_narrower():
    long, short = np.linspace(0, 600, 1000), np.linspace(0, 60, 100)
    assert note_density.bandwidth_seconds(long) == pytest.approx(0.004 * np.std(long, ddof=1))
    assert note_density.bandwidth_seconds(long) > 0.6
    assert note_density.bandwidth_seconds(short) == 0.5
    times = np.array([-1.0, 0.0, 30.1, 61.0])
    density = note_density.onsets_per_second(short, times)
    np.testing.assert_allclose(density, sum_of_normals(short, times, 0.5), rtol=1e-9)
    assert density[2] == pytest.approx(100 / 60, rel=0.02)


@pytest.mark.parametrize("onsets", [[], [3.0], [3.0, 3.0]])
def test_fewer_than_two_distinct_onsets(onsets):
    times = np.array([0.0, 2.5, 3.0])
    density = note_density.onsets_per_second(np.array(onsets), times)
    expected = sum_of_normals(np.array(onsets), times, 0.5)
    np.testing.assert_allclose(density, expected, atol=1e-12)


def test_the_density_of_a_piece_sums_to_its_onsets():
    onsets = np.random.default_rng(0).uniform(10, 50, 150)
    times = np.arange(0, 60, 0.01)
    assert note_density.onsets_per_second(onsets, times).sum() * 0.01 == pytest.approx(150)


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
