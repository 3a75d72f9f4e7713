"""How well two series agree, and how well they would by chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

# What is asked for and what was measured, in the same order → numbers by name.
Figures = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]

N_SHUFFLES = 1000
# Share of the shuffles below and above the range that is called usual.
_TAIL = 0.05
# Deviations below this part of a value are rounding.
_ROUNDING = 1e-9


def pearson(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's correlation of two series of the same length, from -1 to 1.

    It is 0 where one of them does not change, which leaves it undefined: what does not change
    follows nothing.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if _is_constant(a) or _is_constant(b):
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def _is_constant(values: np.ndarray) -> bool:
    return np.ptp(values) <= _ROUNDING * np.abs(values).max()


def slope(requested: Sequence[float], measured: Sequence[float]) -> float:
    """How much the measured changes when the requested changes by 1: of the line of least squares.

    1 is as requested. A correlation near 1 with a slope near 0 is one that nobody hears. The
    requested must not be the same everywhere.
    """
    deviations = np.asarray(requested, np.float64) - np.mean(requested)
    return float(deviations @ np.asarray(measured, np.float64) / (deviations @ deviations))


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
    """Values divided by that of the factors which brings them nearest to the ones requested.

    Args:
      requested, measured: above 0, as many.
      factors: 1 for the value itself, 2 for its double and so on.

    Returns:
      float64 [n].
    """
    choices = np.divide.outer(np.asarray(measured, np.float64), factors)  # [n, n_factors]
    nearest = np.abs(np.log(choices / np.asarray(requested)[:, None])).argmin(axis=1)
    return choices[np.arange(len(choices)), nearest]


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation over a population of which these are samples; None for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclasses.dataclass(frozen=True)
class Chance:
    """A number as it comes out by chance.

    Attributes:
      mean: over all draws.
      low, high: 5 % of the draws are below and 5 % above.
    """

    mean: float
    low: float
    high: float


def summary(draws: Iterable[Mapping[str, float]]) -> dict[str, Chance]:
    """What draws by chance gave, each the same names, at least one."""
    draws = list(draws)
    found = {}
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        low, high = np.quantile(values, [_TAIL, 1.0 - _TAIL])
        found[name] = Chance(float(np.mean(values)), float(low), float(high))
    return found


def when_shuffled(
    figures: Figures, requested: Sequence[float], measured: Sequence[float], seed: int
) -> dict[str, Chance]:
    """The figures of `N_SHUFFLES` times in which each sample is held against what another one,
    drawn by chance, was asked for.

    Args:
      figures: what to compute.
      requested, measured: a value a sample.
      seed: of the shuffles.
    """
    rng = np.random.default_rng(seed)
    requested, measured = np.asarray(requested), np.asarray(measured)
    return summary(figures(rng.permutation(requested), measured) for _ in range(N_SHUFFLES))
