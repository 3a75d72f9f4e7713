"""How much long pieces move, from their beginning to their end: no silence, no drone, no noise.

Spectral flux of windows of some seconds, each held against the least and the greatest of all
windows of real pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from musika_tf.config import AudioConfig
from musika_tf.evaluation import music, quality

_WINDOW_SECONDS = 5.0

# Metrics in tables: title and format by name.
COLUMNS = {
    "flux_least": ("flux, least", ".3f"),
    "flux_median": ("median", ".3f"),
    "flux_greatest": ("greatest", ".3f"),
    "percent_below": ("% below real music", ".1f"),
    "percent_above": ("% above", ".1f"),
    "silent_percent": ("silent %", ".1f"),
    "clipped_percent": ("clipped %", ".3f"),
    "rms_dbfs": ("RMS dBFS", ".1f"),
}


def flux(waveform: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Spectral flux of whole windows, or of what is shorter than one: float32 [n_samples, 2] →
    [n_windows]."""
    size = min(round(_WINDOW_SECONDS * audio.sample_rate_hz), len(waveform))
    starts = range(0, len(waveform) - size + 1, size)
    return np.array([music.spectral_flux(waveform[i : i + size], audio).mean() for i in starts])


def metrics(
    pieces: Mapping[str, Sequence[np.ndarray]], audio: AudioConfig
) -> dict[str, list[dict[str, float]]]:
    """The `COLUMNS` of each piece.

    Args:
      pieces: waveforms of each kind, float32 [n_samples, 2]; `quality.REAL` is one of the kinds.
    """
    moves = {kind: [flux(x, audio) for x in group] for kind, group in pieces.items()}
    of_real = np.concatenate(moves[quality.REAL])
    least, greatest = of_real.min(), of_real.max()
    found: dict[str, list[dict[str, float]]] = {}
    for kind, group in pieces.items():
        levels = [music.level_metrics(x, audio.sample_rate_hz) for x in group]
        found[kind] = [
            {
                "flux_least": float(x.min()),
                "flux_median": float(np.median(x)),
                "flux_greatest": float(x.max()),
                "percent_below": 100.0 * float(np.mean(x < least)),
                "percent_above": 100.0 * float(np.mean(x > greatest)),
                "silent_percent": 100.0 * level["silent_share"],
                "clipped_percent": 100.0 * level["clipped_share"],
                "rms_dbfs": level["rms_dbfs"],
            }
            for x, level in zip(moves[kind], levels, strict=True)
        ]
    return found


def worst(found: Sequence[Mapping[str, float]]) -> int:
    """The piece that is least like real music: the most of it silent or moving too little or too
    much; of those that are alike in that the one that clips most."""

    def outside(index: int) -> tuple[float, float]:
        row = found[index]
        strange = row["percent_below"] + row["percent_above"] + row["silent_percent"]
        return strange, row["clipped_percent"]

    return max(range(len(found)), key=outside)
