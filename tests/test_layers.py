import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from musika_tf.conditioning.units import to_model_units
from musika_tf.config import NORMALISATIONS
from musika_tf.networks import coordinates, layers
from musika_tf.signals import KNOWN_SIGNALS


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _randomise(layer, rng):
    layer.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in layer.weights])


def test_model_units_have_the_features_of_the_signals():
    signals = KNOWN_SIGNALS["beats"], KNOWN_SIGNALS["note_density"]
    conditioning = keras.Input((5, 2))
    model = keras.Model(conditioning, layers.ModelUnits(signals)(conditioning))
    assert model.output_shape == (None, 5, 7)
    values = np.linspace(0.0, 1.0, 30, dtype=np.float32).reshape(3, 5, 2)
    np.testing.assert_allclose(model(values), to_model_units(values, signals), atol=1e-6)


def test_model_units_go_back_through_a_response():
    given, heard = np.array([0.0, 0.3, 1.0]), np.array([0.1, 0.4, 0.6])
    response = tuple(zip(given.tolist(), heard.tolist(), strict=True))
    signals = (
        KNOWN_SIGNALS["beats"],
        dataclasses.replace(KNOWN_SIGNALS["note_density"], response=response),
    )
    values = np.linspace(0.0, 0.8, 40, dtype=np.float32).reshape(2, 10, 2)
    wanted = np.stack([values[..., 0], np.interp(values[..., 1], heard, given)], axis=-1)
    found = layers.ModelUnits(signals)(values)
    np.testing.assert_allclose(found, to_model_units(wanted, signals), atol=1e-5)


@pytest.mark.parametrize("over", NORMALISATIONS)
def test_sa_adain_equals_the_formula(rng, over):
    x = rng.normal(2.0, 3.0, (2, 8, 3)).astype(np.float32)
    modulation = rng.normal(size=(2, 8, 5)).astype(np.float32)
    layer = layers.SpatiallyAlignedAdaIN(over, epsilon=1e-2)
    layer(x, modulation)
    _randomise(layer, rng)
    kernel, bias = layer.get_weights()
    axis, centred = (1, x - x.mean(axis=1, keepdims=True)) if over == "patch" else (-1, x)
    normalised = centred / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + 1e-2)
    scale = 1.0 + modulation @ kernel[:, :3] + bias[:3]
    shift = modulation @ kernel[:, 3:] + bias[3:]
    np.testing.assert_allclose(
        layer(x, modulation), scale * normalised + shift, rtol=1e-5, atol=1e-5
    )


def test_sa_adain_without_modulation_is_instance_normalisation(rng):
    x = rng.normal(2.0, 3.0, (2, 64, 3)).astype(np.float32)
    modulation = rng.normal(size=(2, 64, 5)).astype(np.float32)
    y = layers.SpatiallyAlignedAdaIN(modulation_scale=0.0)(x, modulation).numpy()
    np.testing.assert_allclose(y.mean(axis=1), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=1), 1.0, atol=1e-3)


def test_sa_adain_scale_varies_as_much_as_its_argument_says(rng):
    x = rng.normal(size=(1, 64, 200)).astype(np.float32)
    modulation = rng.normal(size=(1, 64, 128)).astype(np.float32)
    layer = layers.SpatiallyAlignedAdaIN(modulation_scale=0.25)
    layer(x, modulation)
    assert np.var(modulation @ layer.get_weights()[0]) == pytest.approx(0.25, rel=0.1)


def test_sa_adain_keeps_a_constant_channel_small():
    x = np.full((1, 8, 1), 5.0, np.float32) + 1e-5 * np.arange(8, dtype=np.float32)[:, None]
    y = layers.SpatiallyAlignedAdaIN()(x, np.zeros((1, 8, 2), np.float32))
    assert np.abs(y).max() < 0.01


def test_sa_adain_normalises_half_precision_in_single(rng):
    x = (1000.0 + rng.normal(size=(1, 64, 4))).astype(np.float32)
    layer = layers.SpatiallyAlignedAdaIN(dtype="mixed_bfloat16", modulation_scale=0.0)
    y = layer(x.astype(np.float32), np.zeros((1, 64, 2), np.float32))
    assert y.dtype == tf.bfloat16
    assert np.isfinite(y.numpy().astype(np.float32)).all()


def test_gated_linear_unit_equals_the_formula(rng):
    x = rng.normal(size=(2, 3, 6)).astype(np.float32)
    layer = layers.GatedLinearUnit()
    np.testing.assert_allclose(layer(x), x[..., :3] / (1 + np.exp(-x[..., 3:])), atol=1e-6)
    assert layer(keras.Input((3, 6))).shape == (None, 3, 3)


def test_excitation_equals_the_formula(rng):
    low = rng.normal(size=(2, 8, 3)).astype(np.float32)
    high = rng.normal(size=(2, 16, 5)).astype(np.float32)
    layer = layers.SkipLayerExcitation()
    layer(low, high)
    _randomise(layer, rng)
    squeeze_kernel, squeeze_bias, gate_kernel, gate_bias = layer.get_weights()

    pooled = low.reshape(2, 4, 2, 3).mean(axis=2)
    hidden = squeeze_bias + sum(pooled[:, step] @ squeeze_kernel[step] for step in range(4))
    hidden = hidden / (1.0 + np.exp(-hidden))
    gates = 1.0 / (1.0 + np.exp(-(hidden @ gate_kernel + gate_bias)))
    np.testing.assert_allclose(layer(low, high), high * gates[:, None], rtol=1e-5, atol=1e-5)


def test_excitation_along_time_equals_the_formula(rng):
    low = rng.normal(size=(2, 6, 3)).astype(np.float32)
    layer = layers.SkipLayerExcitationAlongTime(n_channels=5, ratio=8)
    layer(low)
    _randomise(layer, rng)
    squeeze_kernel, squeeze_bias, gate_kernel, gate_bias = layer.get_weights()

    gates = layer(low).numpy()
    assert gates.shape == layer.compute_output_shape(low.shape) == (2, 4 * 8, 5)
    for step in range(4):
        hidden = squeeze_bias + sum(low[:, step + tap] @ squeeze_kernel[tap] for tap in range(3))
        hidden = hidden / (1.0 + np.exp(-hidden))
        expected = 1.0 / (1.0 + np.exp(-(hidden @ gate_kernel[0] + gate_bias)))
        of_step = gates[:, 8 * step : 8 * (step + 1)]
        np.testing.assert_allclose(of_step, expected[:, None].repeat(8, axis=1), rtol=1e-5)


def test_position_features_begin_before_the_window():
    layer = layers.PositionFeatures(seq_len=8, context_n_steps=4)
    features = layer(np.array([0, 8], np.int32), np.zeros((2, 12, 3), np.float32))
    for row, start in enumerate((0, 8)):
        steps = np.arange(start - 4, start + 8, dtype=np.int32)
        np.testing.assert_array_equal(features[row], coordinates.position_features(steps, 8))


def test_output_scale_is_the_identity_until_it_is_set(rng):
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    layer = layers.OutputScale()
    np.testing.assert_array_equal(layer(x), x)
    layer.set_weights([np.array([1.0, 2.0, 3.0]), np.array([0.0, -1.0, 0.5])])
    np.testing.assert_allclose(layer(x), x * [1.0, 2.0, 3.0] + [0.0, -1.0, 0.5], atol=1e-6)
    assert not layer.trainable_weights


@pytest.mark.parametrize(
    ("n_inputs", "expected"),
    [
        (4, np.eye(4)),
        (8, np.kron(np.eye(4), [0.5, 0.5])),
        (2, [[1, 0], [1, 0], [0, 1], [0, 1]]),
        (
            6,
            np.array(
                [[1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1]]
            )
            / 2,
        ),
    ],
)
def test_adaptive_pooling_averages_every_input(n_inputs, expected):
    np.testing.assert_allclose(layers.adaptive_pooling_matrix(n_inputs, 4), expected)


def test_mixing_is_a_fixed_rotation(rng):
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)
    layer = layers.CrossChannelMixing(seed=3)
    mixed = layer(x)
    (mix,) = layer.get_weights()
    np.testing.assert_allclose(mix @ mix.T, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(mixed, x @ mix, atol=1e-5)
    assert not layer.trainable_weights
    assert len(layer.non_trainable_weights) == 1


def test_mixing_follows_from_its_seed_alone(rng):
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)
    keras.utils.set_random_seed(1)
    first = layers.CrossChannelMixing(seed=3)(x)
    keras.utils.set_random_seed(2)
    np.testing.assert_array_equal(first, layers.CrossChannelMixing(seed=3)(x))
    assert np.abs(first - layers.CrossChannelMixing(seed=4)(x)).max() > 0.1
