"""Units by their formula."""

import numpy as np
import tensorflow as tf

from musika_tf.conditioning.units import limited, to_model_units
from musika_tf.config import KNOWN_SIGNALS, Signal

DENSITY = KNOWN_SIGNALS["note_density"]
TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")


def test_model_units_by_hand():
    users = np.array([[0.0, 110.0], [0.25, 140.0], [1.0, 170.0], [0.5, 125.0]], np.float32)
    models = np.array([[-1.0, -1.0], [-0.5, 0.0], [1.0, 1.0], [0.0, -0.5]], np.float32)
    np.testing.assert_allclose(to_model_units(users, (DENSITY, TEMPO)), models, atol=1e-6)
    tensor = to_model_units(tf.constant(users), (DENSITY, TEMPO))
    np.testing.assert_allclose(tensor, models, atol=1e-6)
    assert tensor.dtype == tf.float32


def test_values_are_limited_signal_by_signal():
    values = np.array([[-0.5, 100.0], [0.5, 180.0], [1.5, 120.0]])
    expected = [[0.0, 110.0], [0.5, 170.0], [1.0, 120.0]]
    np.testing.assert_array_equal(limited(values, (DENSITY, TEMPO)), expected)
