"""User units ↔ what networks see. No TensorFlow here: what draws and reads values needs none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from musika_tf.config import Signal


def to_model_units(values: Any, signals: Sequence[Signal]) -> Any:
    """User units [..., C] → what the networks see, [..., n_features], in [-1, 1].

    x = 2·(v - min)/(max - min) - 1. Of the clock at v beats, which has no end, six numbers: sine
    and cosine of 2π·v/max, of 2π·v and of 4π·v, which turn once a bar, a beat and half a beat.

    Args:
      values: an array or a tensor; the last axis in the order of the signals.
      signals: C of them; their `n_features` come one after the other.
    """
    # Both have functions of these names. TensorFlow is there already if there is a tensor.
    maths: Any = np
    if not isinstance(values, np.ndarray):
        import tensorflow as maths
    features = []
    for column, signal in enumerate(signals):
        value = values[..., column]
        if signal.is_clock:
            # Of many beats a network's float32 would see no phase.
            value = value % signal.maximum
            turns = (value * (2.0 * math.pi * pace) for pace in (1.0 / signal.maximum, 1.0, 2.0))
            features += [wave(angle) for angle in turns for wave in (maths.sin, maths.cos)]
        else:
            features.append(2.0 * (value - signal.minimum) / signal.width - 1.0)
    return maths.stack(features, axis=-1)


def feature_weights(signals: Sequence[Signal]) -> np.ndarray:
    """Weights of features, float32 [n_features], in whose weighted mean all signals count alike.

    In a plain one the clock, which has six features, would count six times.
    """
    sizes = [signal.n_features for signal in signals]
    shares = [sum(sizes) / (len(sizes) * size) for size in sizes]
    return np.repeat(shares, sizes).astype(np.float32)


def limited(values: np.ndarray, signals: Sequence[Signal]) -> np.ndarray:
    """Values [..., C] in user units inside the ranges of the signals: float32.

    What is out of a range becomes its limit. From a clock whole bars are taken away, before the
    rounding, so that it is as exact after a day as in the first bar.
    """
    values = np.array(values, np.float64)
    for column, signal in enumerate(signals):
        value = values[..., column]
        if signal.is_clock:
            values[..., column] = np.mod(value, signal.maximum)
        else:
            values[..., column] = np.clip(value, signal.minimum, signal.maximum)
    return values.astype(np.float32)
