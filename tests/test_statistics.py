"""Statistics of evaluations, against SciPy and by hand."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from musika_tf import statistics


@pytest.mark.parametrize("slope", [1.0, 0.2, 0.0, -3.0])
def test_pearson_is_scipys(slope):
    rng = np.random.default_rng(0)
    a = 5.0 + rng.normal(size=40)
    b = slope * a + rng.normal(size=40)
    assert statistics.pearson(a, b) == pytest.approx(scipy.stats.pearsonr(a, b)[0], abs=1e-12)


def test_what_does_not_change_follows_nothing():
    a = np.linspace(0.1, 0.7, 7)
    for constant in (np.full(7, 0.3), np.zeros(7), np.full(7, 0.3) + 1e-15 * np.arange(7)):
        assert statistics.pearson(a, constant) == 0.0
        assert statistics.pearson(constant, a) == 0.0


def test_perfect_correlation_is_at_most_one():
    a = np.array([0.1, 0.2, 0.7]) * 1e-3
    assert statistics.pearson(a, 3 * a) == pytest.approx(1.0)
    assert statistics.pearson(a, -a) >= -1.0


def test_slope_is_that_of_a_fitted_line():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    assert statistics.slope(a, b) == pytest.approx(np.polyfit(a, b, 1)[0])
    assert statistics.slope([120, 140, 160], [148.7, 148.8, 148.9]) == pytest.approx(0.005)


def test_mean_absolute_error():
    assert statistics.mean_absolute_error([1, 2, 3], [1, 4, 2]) == pytest.approx(1.0)


def test_shares_by_hand():
    requested = [120.0, 120.0, 120.0, 160.0, 160.0]
    # Within 4 % of 120: from 115.2 to 124.8. 80 is half of 160, 240 the double of 120.
    measured = [124.7, 124.9, 240.0, 80.0, 107.0]
    assert statistics.share_within(requested, measured, 0.04) == pytest.approx(1 / 5)
    folded = statistics.folded(requested, measured, (1, 2, 0.5))
    np.testing.assert_allclose(folded, [124.7, 124.9, 120.0, 160.0, 214.0])
    assert statistics.share_within(requested, folded, 0.04) == pytest.approx(3 / 5)


def test_spread():
    values = [0.1, 0.5, 0.3]
    assert statistics.spread(values) == pytest.approx(scipy.stats.tstd(values))
    assert statistics.spread([0.3]) is None


def metrics(requested, measured):
    return {
        "r": statistics.pearson(requested, measured),
        "error": statistics.mean_absolute_error(requested, measured),
    }


def test_chance_is_what_shuffling_gives():
    requested = np.repeat([0.15, 0.30, 0.45, 0.60, 0.75], 4)
    chance = statistics.when_shuffled(metrics, requested, requested, seed=0)
    # Over all shuffles: the mean of r is 0 and its variance 1/(n - 1); the error that between all
    # pairs, the same one included.
    assert chance["r"].mean == pytest.approx(0.0, abs=4 / np.sqrt(19 * 1000))
    assert chance["r"].high == pytest.approx(1.645 / np.sqrt(19), abs=0.06)
    assert chance["r"].low == pytest.approx(-1.645 / np.sqrt(19), abs=0.06)
    everything = np.abs(np.subtract.outer(requested, requested)).mean()
    assert chance["error"].mean == pytest.approx(everything, rel=0.02)


def test_chance_repeats_with_its_seed():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    first, again, other = (statistics.when_shuffled(metrics, a, b, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_summary_by_hand():
    found = statistics.summary({"x": float(i)} for i in range(101))
    assert found == {"x": statistics.Chance(mean=50.0, low=5.0, high=95.0)}


def test_frechet_distance_is_that_of_scipys_root():
    rng = np.random.default_rng(2)
    a, b = (rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6) for _ in "ab")
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    offset = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    wanted = offset + np.trace(sum(covariances) - 2.0 * root)
    assert statistics.frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)


def test_frechet_distance_at_infinity_has_no_bias():
    """Draws of one normal distribution: few of them are some way apart, endless ones not at all."""
    a, b = np.random.default_rng(0).normal(size=(2, 400, 20))
    assert statistics.frechet_distance(a, b) > 0.5
    assert statistics.frechet_at_infinity(a, b) == pytest.approx(0.0, abs=0.1)
    # Twice as wide in each of 20 dimensions: a distance of 20.
    assert statistics.frechet_at_infinity(a, 2 * b) == pytest.approx(20.0, abs=1.0)
    first, again = (statistics.frechet_at_infinity(a, b, seed=3) for _ in range(2))
    assert first == again


def test_kernel_distance_by_hand():
    a, b = np.random.default_rng(0).normal(size=(2, 30, 4))
    a, b = a[:20], b + 0.3
    apart = [np.linalg.norm(x - y) for x, y in itertools.combinations(a, 2)]

    def mean(pairs):
        squares = [np.sum((x - y) ** 2) for x, y in pairs]
        return np.mean(np.exp(-np.array(squares) / (2 * np.median(apart) ** 2)))

    wanted = mean(itertools.permutations(a, 2)) + mean(itertools.permutations(b, 2))
    wanted -= 2 * mean(itertools.product(a, b))
    assert statistics.kernel_distance(a, b) == pytest.approx(100 * wanted)


def test_kernel_distance_is_unbiased():
    """Of draws of one distribution, however few: 0 on average, and not always above it."""
    draws = np.random.default_rng(0).normal(size=(400, 2, 8, 3))
    found = np.array([statistics.kernel_distance(a, b) for a, b in draws])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert (found < 0).mean() > 0.3


def test_windows_of_series():
    series = np.random.default_rng(0).normal(size=(2, 7, 3))
    windows = statistics.windows(series, 3)
    assert windows.shape == (10, 9)
    np.testing.assert_array_equal(windows[5 + 4], series[1, 4:7].ravel())
    np.testing.assert_array_equal(statistics.windows(series, 3, hop=3)[3], series[1, 3:6].ravel())


def test_window_frechet_of_noise_is_that_of_each_of_its_values():
    noise = np.random.default_rng(0).normal(size=(40, 500, 2))
    assert statistics.window_frechet(noise, noise, 3) == pytest.approx(0.0, abs=1e-6)
    found = statistics.window_frechet(noise, 3.0 * noise + 0.5, 3)
    assert found == pytest.approx(6 * (0.25 + 4.0), rel=0.05)


def test_window_frechet_sees_time():
    """Steps that go up and down, against those that go as they like: of two steps the covariances
    are [[1, -1], [-1, 1]] and the identity."""
    sign = np.random.default_rng(0).choice([-1.0, 1.0], (400, 100, 1))
    real = sign[:, :1] * np.where(np.arange(100) % 2, -1.0, 1.0)[:, None]
    assert statistics.window_frechet(real, sign, 2) == pytest.approx(4 - 2 * np.sqrt(2), abs=0.1)
    found = statistics.window_frechet(np.repeat(real, 2, axis=2), np.repeat(sign, 2, axis=2), 1)
    assert found == pytest.approx(0.0, abs=0.01)


def test_window_frechet_is_of_what_is_strongest_in_real_windows():
    """70 values of which six are weak, and these differ."""
    scale = np.where(np.arange(70) < 64, 1.0, 0.01)
    real = np.random.default_rng(0).normal(size=(5000, 1, 70)) * scale
    other = real * np.where(np.arange(70) < 64, 1.0, 10.0)
    assert statistics.window_frechet(real, other, 1) == pytest.approx(0.0, abs=1e-3)
    assert statistics.frechet_distance(real, other) == pytest.approx(6 * 0.09**2, rel=0.05)


def test_nearest_distances_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    queries, references = rng.normal(size=(600, 5)), rng.normal(size=(40, 5))
    queries[7] = references[3]
    found = statistics.nearest_distances(queries, references)
    pairs = np.sqrt(np.mean(np.square(queries[:, None] - references), axis=2))
    np.testing.assert_allclose(found, pairs.min(axis=1), atol=1e-7)
    assert found[7] < 1e-7 < np.delete(found, 7).min()
