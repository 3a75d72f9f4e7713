"""Spectral normalisation (Miyato et al. 2018) that leaves the weights alone.

The forward pass divides the kernel by an estimate of its largest singular value; the kernel itself
is never written. The estimate's vector moves only in `update`, once a training step, so that every
forward pass of a step sees the same network.
"""

from __future__ import annotations

import keras
import tensorflow as tf


class SpectralConv2D(keras.layers.Layer):
    """2-D convolution, same padding, whose kernel is divided by its largest singular value.

    The kernel [height, width, in, out] is seen as a matrix [height·width·in, out].
    """

    def __init__(self, filters: int, kernel_size: tuple[int, int], strides=(1, 1), **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)

    def build(self, input_shape):
        shape = (*self.kernel_size, input_shape[-1], self.filters)
        # Never rounded to half precision before it is divided.
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer="glorot_uniform", autocast=False
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.singular_vector = self.add_weight(
            name="singular_vector",
            shape=(self.filters,),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            trainable=False,
            autocast=False,
            # Replicas compute the same one, from the same kernel.
            aggregation="only_first_replica",
        )

    def _matrix(self) -> tf.Tensor:
        return tf.reshape(tf.cast(self.kernel, tf.float32), (-1, self.filters))

    def sigma(self) -> tf.Tensor:
        """Estimate of the kernel's largest singular value; differentiable in the kernel only."""
        matrix = self._matrix()
        right = tf.math.l2_normalize(tf.convert_to_tensor(self.singular_vector))
        left = tf.math.l2_normalize(tf.linalg.matvec(tf.stop_gradient(matrix), right))
        return tf.tensordot(left, tf.linalg.matvec(matrix, right), 1)

    def update(self) -> None:
        """One power iteration: moves the estimate's vector towards the true singular vector."""
        matrix = self._matrix()
        right = tf.math.l2_normalize(tf.convert_to_tensor(self.singular_vector))
        left = tf.math.l2_normalize(tf.linalg.matvec(matrix, right))
        right = tf.math.l2_normalize(tf.linalg.matvec(matrix, left, transpose_a=True))
        self.singular_vector.assign(right)

    def call(self, inputs):
        kernel = tf.cast(self.kernel, tf.float32) / tf.maximum(self.sigma(), 1e-12)
        kernel = tf.cast(kernel, inputs.dtype)
        outputs = tf.nn.conv2d(inputs, kernel, strides=self.strides, padding="SAME")
        return tf.nn.bias_add(outputs, tf.cast(self.bias, inputs.dtype))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        height, width = (
            None if size is None else -(-size // stride)
            for size, stride in zip((height, width), self.strides, strict=True)
        )
        return (batch, height, width, self.filters)


def update_all(network: keras.Model) -> None:
    """One power iteration in every spectrally normalised layer of a network."""
    for layer in network.layers:
        if isinstance(layer, SpectralConv2D):
            layer.update()
