"""Note density: how many notes begin a second, smoothed, and scaled to [0, 1] (paper §5.1)."""

from __future__ import annotations

import numpy as np

# Bandwidth of the Gaussian kernel over the standard deviation of a piece's onsets (paper §5.1).
BANDWIDTH_FACTOR = 0.004
# No kernel is narrower. By the paper's factor a recital piece of ten minutes, as in its
# data, has a bandwidth of 0.7 s, and so a smooth density; a song of one minute would have 0.07 s,
# and its density would jump from note to note, faster than latents follow one another. This least
# width is the factor's own for a piece of seven minutes.
MIN_BANDWIDTH_SECONDS = 0.5


def onsets_per_second(onset_times_seconds: np.ndarray, times_seconds: np.ndarray) -> np.ndarray:
    """Gaussian kernel density of the onsets of one piece, times their number (paper §5.1): of times
    [n_onsets] at times [n], in any order, float64 [n]; zeros if there is no onset."""
    # A slow import, and music can be played without.
    from scipy import stats

    onsets, times = np.asarray(onset_times_seconds), np.asarray(times_seconds)
    bandwidth = bandwidth_seconds(onsets)
    if not len(onsets):
        return np.zeros(len(times))
    if np.ptp(onsets) == 0:  # SciPy's bandwidths are relative to a deviation, which must not be 0.
        return len(onsets) * stats.norm.pdf(times, onsets[0], bandwidth)
    return len(onsets) * stats.gaussian_kde(onsets, bandwidth / np.std(onsets, ddof=1))(times)


def bandwidth_seconds(onset_times_seconds: np.ndarray) -> float:
    """Standard deviation of the kernel that `onsets_per_second` has for these onsets."""
    if len(onset_times_seconds) < 2:
        return MIN_BANDWIDTH_SECONDS
    spread = float(np.std(onset_times_seconds, ddof=1))
    return max(BANDWIDTH_FACTOR * spread, MIN_BANDWIDTH_SECONDS)


def scale(onsets_per_second: np.ndarray, maximum: float) -> np.ndarray:
    """Note density of d ≥ 0 onsets per second: log(1 + d) / log(1 + maximum), limited to 1."""
    scaled = np.log1p(np.asarray(onsets_per_second, np.float64)) / _log_maximum(maximum)
    return np.clip(scaled, 0.0, 1.0)


def unscale(note_density: np.ndarray, maximum: float) -> np.ndarray:
    """Onsets per second of a note density in [0, 1]: the inverse of `scale` up to `maximum`."""
    return np.expm1(np.asarray(note_density, np.float64) * _log_maximum(maximum))


def _log_maximum(maximum: float) -> float:
    if not maximum > 0:
        raise ValueError(f"maximum={maximum} onsets per second must be above 0")
    return float(np.log1p(maximum))
