"""Spectral normalisation against a singular value decomposition."""

import keras
import numpy as np
import tensorflow as tf

from musika_tf.networks.spectral_norm import SpectralConv2D, update_all


def build(filters=7, channels=5) -> tuple[SpectralConv2D, np.ndarray]:
    layer = SpectralConv2D(filters, (3, 3), strides=(2, 2))
    inputs = np.random.default_rng(0).normal(size=(2, 9, 8, channels)).astype(np.float32)
    layer(inputs)
    layer.kernel.assign(3.0 * layer.kernel)
    return layer, inputs


def largest_singular_value(layer) -> float:
    return np.linalg.svd(layer.kernel.numpy().reshape(-1, layer.filters))[1][0]


def converge(layer) -> None:
    for _ in range(200):
        layer.update()


def test_sigma_converges_to_the_largest_singular_value():
    layer, _ = build()
    assert abs(float(layer.sigma()) - largest_singular_value(layer)) > 1e-3
    converge(layer)
    assert abs(float(layer.sigma()) - largest_singular_value(layer)) < 1e-3


def test_output_is_the_convolution_with_the_divided_kernel():
    layer, inputs = build()
    converge(layer)
    layer.bias.assign(np.arange(7.0))
    kernel = layer.kernel.numpy() / largest_singular_value(layer)
    expected = tf.nn.conv2d(inputs, kernel, strides=2, padding="SAME") + np.arange(7.0)
    np.testing.assert_allclose(layer(inputs).numpy(), expected, atol=1e-4)
    assert layer.compute_output_shape(inputs.shape) == expected.shape


def test_forward_pass_changes_nothing():
    layer, inputs = build()
    before = [v.numpy().copy() for v in layer.variables]
    for training in (True, False):
        layer(inputs, training=training)
    for old, new in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_gradient_is_that_of_the_divided_kernel():
    """d(W/σ) with singular vectors held: checked along a direction by finite differences."""
    layer, inputs = build()
    converge(layer)
    kernel = layer.kernel.numpy()
    direction = np.random.default_rng(1).normal(size=kernel.shape).astype(np.float32)

    def value(offset: float) -> float:
        layer.kernel.assign(kernel + offset * direction)
        converge(layer)
        return float(tf.reduce_sum(tf.sin(layer(inputs))))

    slope = (value(1e-2) - value(-1e-2)) / 2e-2
    layer.kernel.assign(kernel)
    converge(layer)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.sin(layer(inputs)))
    gradient = tape.gradient(total, layer.kernel.value)
    assert np.isclose(np.sum(gradient * direction), slope, rtol=2e-2)


def test_update_all_reaches_every_layer_and_leaves_weights():
    inputs = keras.Input((8, 8, 1))
    outputs = SpectralConv2D(2, (3, 3))(SpectralConv2D(4, (3, 3))(inputs))
    network = keras.Model(inputs, outputs)
    weights = [v.numpy().copy() for v in network.trainable_variables]
    vectors = [v.numpy().copy() for v in network.non_trainable_variables]
    update_all(network)
    assert len(vectors) == 2
    for old, new in zip(vectors, network.non_trainable_variables, strict=True):
        assert np.abs(old - new.numpy()).max() > 0
    for old, new in zip(weights, network.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
