"""Units by their formula."""

import numpy as np
import pytest
import tensorflow as tf

from musika_tf.conditioning.units import feature_weights, limited, to_model_units
from musika_tf.config import Signal
from musika_tf.signals import KNOWN_SIGNALS

DENSITY = KNOWN_SIGNALS["note_density"]
BEATS = KNOWN_SIGNALS["beats"]
TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")


def test_model_units_by_hand():
    users = np.array([[0.0, 110.0], [0.25, 140.0], [1.0, 170.0], [0.5, 125.0]], np.float32)
    models = np.array([[-1.0, -1.0], [-0.5, 0.0], [1.0, 1.0], [0.0, -0.5]], np.float32)
    np.testing.assert_allclose(to_model_units(users, (DENSITY, TEMPO)), models, atol=1e-6)
    tensor = to_model_units(tf.constant(users), (DENSITY, TEMPO))
    np.testing.assert_allclose(tensor, models, atol=1e-6)
    assert tensor.dtype == tf.float32


def test_a_clock_is_seen_as_three_turning_hands():
    users = np.array([[0.0, 0.25], [0.5, 0.25], [1.25, 0.25], [3.0, 0.25]], np.float32)
    half = np.sqrt(0.5)
    eighth = np.sin(np.pi / 8), np.cos(np.pi / 8)
    models = np.array(
        [
            # bar       beat   half    density
            [0, 1, 0, 1, 0, 1, -0.5],
            [half, half, 0, -1, 0, 1, -0.5],
            [eighth[1], -eighth[0], 1, 0, 0, -1, -0.5],
            [-1, 0, 0, 1, 0, 1, -0.5],
        ]
    )
    for values in (users, tf.constant(users)):
        found = np.asarray(to_model_units(values, (BEATS, DENSITY)))
        np.testing.assert_allclose(found, models, atol=1e-5)
        assert found.dtype == np.float32


def test_whole_bars_are_taken_from_a_clock_before_it_is_rounded():
    beats = np.array([[-0.5], [4.0], [7.25], [4e9 + 1.125]])
    np.testing.assert_array_equal(limited(beats, (BEATS,)), [[3.5], [0.0], [3.25], [1.125]])


def test_all_signals_weigh_alike():
    errors = np.array([0.6] * 6 + [0.1])
    weights = feature_weights([BEATS, DENSITY])
    assert (weights * errors).mean() == pytest.approx(0.35)
    np.testing.assert_array_equal(feature_weights([DENSITY, TEMPO]), [1.0, 1.0])


def test_values_are_limited_signal_by_signal():
    values = np.array([[-0.5, 100.0], [0.5, 180.0], [1.5, 120.0]])
    expected = [[0.0, 110.0], [0.5, 170.0], [1.0, 120.0]]
    np.testing.assert_array_equal(limited(values, (DENSITY, TEMPO)), expected)
