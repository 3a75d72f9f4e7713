"""User units ↔ what networks see. No TensorFlow here: what draws and reads values needs none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from musika_tf.config import Signal


def to_model_units(values: Any, signals: Sequence[Signal]) -> Any:
    """User units [..., C] → what the networks see, [-1, 1]: x = 2·(v - min)/(max - min) - 1.

    Args:
      values: an array or a tensor; the last axis in the order of the signals.
      signals: C of them.
    """
    minimum, maximum = _limits(signals)
    return 2.0 * (values - minimum) / (maximum - minimum) - 1.0


def _limits(signals: Sequence[Signal]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(signal.minimum, signal.maximum) for signal in signals]
    minimum, maximum = np.array(pairs, np.float32).T
    return minimum, maximum


def limited(values: np.ndarray, signals: Sequence[Signal]) -> np.ndarray:
    """Values [..., C] in user units, limited to the ranges of the signals: float32."""
    return np.clip(np.asarray(values, np.float32), *_limits(signals))
