"""How well two series or two sets of vectors agree, and how well series would by chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

# What is asked for and what was measured, in the same order → numbers by name.
Metrics = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]

N_SHUFFLES = 1000
# Share of the shuffles below and above the range that is called usual.
_TAIL = 0.05
# Of window_frechet: draws, and principal components of the real ones that are compared.
N_WINDOWS = 2048
N_COMPONENTS = 64
_WINDOW_SEED = 0
# Of frechet_at_infinity: numbers of draws, from half of them to all, and subsets of each.
_N_SIZES, _N_SUBSETS = 8, 4
# KAD is given in hundredths.
_KERNEL_SCALE = 100.0
# Deviations below this part of a value are rounding.
_ROUNDING = 1e-9


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean by name of rows with the same names, at least one."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def pearson(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's correlation, -1 to 1; 0 where a series does not change: that follows nothing."""
    if any(np.ptp(values) <= _ROUNDING * np.abs(values).max() for values in (a, b)):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def slope(requested: Sequence[float], measured: Sequence[float]) -> float:
    """How much the measured changes when the requested, which must change, does by 1, by least
    squares. A correlation near 1 with a slope near 0 is one that nobody hears."""
    return float(np.polyfit(requested, measured, 1)[0])


def mean_absolute_error(requested: Sequence[float], measured: Sequence[float]) -> float:
    """Mean of |measured - requested|."""
    return float(np.mean(np.abs(np.subtract(measured, requested))))


def share_within(requested: Sequence[float], measured: Sequence[float], tolerance: float) -> float:
    """Share of the values whose distance from the one requested is at most `tolerance` of it."""
    ratios = np.divide(measured, requested)
    return float(np.mean(np.abs(ratios - 1.0) <= tolerance))


def folded(
    requested: Sequence[float], measured: Sequence[float], factors: Sequence[float]
) -> np.ndarray:
    """Values above 0 divided by that of the factors, such as 1, 2 and ½, which brings them nearest
    to the ones requested: float64 [n]."""
    choices = np.divide.outer(np.asarray(measured, np.float64), factors)  # [n, n_factors]
    nearest = np.abs(np.log(choices / np.asarray(requested)[:, None])).argmin(axis=1)
    return choices[np.arange(len(choices)), nearest]


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation over a population of which these are samples; None for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """‖μ_a - μ_b‖² + tr(C_a + C_b - 2·(C_a·C_b)^½) of the last axis, all others being draws.

    The Fréchet distance of two normal distributions with the means and covariances of the draws
    (Heusel et al. 2017, eq. 6). Few draws make it too large.

    Args:
      a, b: float [..., n_channels], at least two channels and two draws each.
    """
    a, b = (x.reshape(-1, x.shape[-1]) for x in (a, b))
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of a matrix's square root is the sum of the roots of its eigenvalues, which are
    # real and positive for a product of covariances, but for rounding.
    eigenvalues = np.linalg.eigvals(covariance_a @ covariance_b).real
    cross = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    offset = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(offset + np.trace(covariance_a) + np.trace(covariance_b) - 2.0 * cross)


def frechet_at_infinity(real: np.ndarray, other: np.ndarray, seed: int = 0) -> float:
    """The Fréchet distance that endless draws would have: a line in 1 / n_draws, at 0 (FAD-inf, Gui
    et al. 2024, https://arxiv.org/abs/2311.01616).

    Subsets are as large of both: held-out music is as little as what it is compared with, and as
    much to blame for the bias.

    Args:
      real, other: float [n_draws, n_channels], four draws or more each.
      seed: of the subsets, which are drawn without replacement.
    """
    rng, n_draws = np.random.default_rng(seed), min(len(real), len(other))
    sizes = np.repeat(np.linspace(n_draws // 2, n_draws, _N_SIZES).astype(int), _N_SUBSETS)
    found = [
        frechet_distance(*(rng.choice(x, size, replace=False) for x in (real, other)))
        for size in sizes
    ]
    return float(np.polyfit(1.0 / sizes, found, 1)[1])


def kernel_distance(real: np.ndarray, other: np.ndarray) -> float:
    """100 times the squared maximum mean discrepancy of two sets, float [n_draws, n_channels], two
    draws or more each (KAD, Chung et al. 2025, https://arxiv.org/abs/2502.15602).

    The estimate is unbiased (Gretton et al. 2012, eq. 3): about 0, also below, where both are draws
    of one distribution, however few. The kernel is Gaussian, its bandwidth the median distance
    between real draws.
    """
    # A slow import, and whoever needs other functions of this module does without.
    from scipy.spatial import distance

    pairs = distance.pdist(real), distance.pdist(other), distance.cdist(real, other)
    bandwidth = np.median(pairs[0])
    a, b, across = (np.exp(-0.5 * np.square(apart / bandwidth)).mean() for apart in pairs)
    return float(_KERNEL_SCALE * (a + b - 2.0 * across))


def windows(series: np.ndarray, n_steps: int, hop: int = 1) -> np.ndarray:
    """A vector a window, every `hop` steps: [n_series, T ≥ n_steps, depth] →
    [n_windows, n_steps·depth]."""
    views = np.lib.stride_tricks.sliding_window_view(series, n_steps, axis=1)[:, ::hop]
    return np.moveaxis(views, -1, 2).reshape(-1, n_steps * series.shape[-1])


def window_frechet(real: np.ndarray, other: np.ndarray, n_steps: int) -> float:
    """Fréchet distance of windows of series, which sees what changes along time.

    A draw is all values of a window side by side. These are many: `N_WINDOWS` windows at random,
    from a fixed seed, are compared in the `N_COMPONENTS` leading principal components of the real
    ones. Of what lies outside of these nothing is seen.

    Args:
      real, other: float [n_series, T, depth], each with its own number and length; n_steps·depth
        is at least two.
      n_steps: of a window, at most T.
    """
    ours, theirs = (_drawn_windows(series, n_steps) for series in (real, other))
    # Least first, as eigh gives them.
    _, components = np.linalg.eigh(np.cov(ours, rowvar=False))
    leading = components[:, -N_COMPONENTS:]
    return frechet_distance(ours @ leading, theirs @ leading)


def _drawn_windows(series: np.ndarray, n_steps: int) -> np.ndarray:
    """Float64 [N_WINDOWS, n_steps·depth]."""
    rng, (n_series, length, _) = np.random.default_rng(_WINDOW_SEED), series.shape
    rows = rng.integers(n_series, size=(N_WINDOWS, 1))
    starts = rng.integers(length - n_steps + 1, size=(N_WINDOWS, 1))
    return series[rows, starts + np.arange(n_steps)].reshape(N_WINDOWS, -1).astype(np.float64)


def nearest_distances(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Root mean square differences to the nearest reference: float [n_queries, n_channels] and
    [n_references, n_channels] → float64 [n_queries]."""
    # A slow import, and whoever needs other functions of this module does without.
    from sklearn import metrics

    _, distances = metrics.pairwise_distances_argmin_min(
        np.asarray(queries, np.float64), np.asarray(references, np.float64)
    )
    return distances / np.sqrt(references.shape[1])


@dataclasses.dataclass(frozen=True)
class Chance:
    """A number as it comes out by chance: 5 % of the draws are below `low` and 5 % above `high`."""

    mean: float
    low: float
    high: float


def summary(draws: Iterable[Mapping[str, float]]) -> dict[str, Chance]:
    """What draws by chance gave, each the same names, at least one."""
    draws = list(draws)
    found = {}
    for name, mean in means(draws).items():
        low, high = np.quantile([draw[name] for draw in draws], [_TAIL, 1.0 - _TAIL])
        found[name] = Chance(mean, float(low), float(high))
    return found


def when_shuffled(
    metrics: Metrics, requested: Sequence[float], measured: Sequence[float], seed: int
) -> dict[str, Chance]:
    """The metrics of samples, `N_SHUFFLES` times, when each is held against what another one, drawn
    by chance, was asked for."""
    rng = np.random.default_rng(seed)
    requested, measured = np.asarray(requested), np.asarray(measured)
    return summary(metrics(rng.permutation(requested), measured) for _ in range(N_SHUFFLES))
