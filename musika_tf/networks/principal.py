"""The principal path of an autoencoder level: a linear code beside the network, set from the data.

Both ends of a level are a linear map and a network that corrects it. With x a frame (level 1) or a
block of frames (level 2), μ their mean, the columns of W their first principal components, c one
scale for all of them, and y the latents before their tanh:

    encoder    z = tanh(Wᵀ(x - μ)/c + network(x))
    decoder    x̂ = μ + c·W·artanh(z) + network(z)

The last layers of the networks start at zero, so that an untrained level already keeps what so many
principal components keep; training begins from there. The linear maps stay as they are.

With one scale for all components y is a rotation of the frames: distances between latents are
distances between spectrograms, and level 2 can do to y what level 1 did to frames.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

# artanh is taken of latents up to this (4.6, fourteen standard deviations of the first component).
_LATENT_LIMIT = 0.9998
# c, in standard deviations of the first component: tanh is nearly straight for most of what occurs.
_SCALE_N_DEVIATIONS = 3.0
# A direction in which the data hardly move is not magnified without limit.
_LEAST_DEVIATION_SHARE = 0.01


def before_tanh(latents: tf.Tensor) -> tf.Tensor:
    """artanh of latents in [-1, 1], finite at both ends."""
    limited = keras.ops.clip(latents, -_LATENT_LIMIT, _LATENT_LIMIT)
    return 0.5 * keras.ops.log((1.0 + limited) / (1.0 - limited))


class _LinearPath(keras.layers.Layer):
    """What both directions hold, and training leaves as it is.

    Args:
      block_n_frames: frames to a latent.
    """

    def __init__(self, block_n_frames: int, **kwargs):
        super().__init__(trainable=False, **{"dtype": "float32", **kwargs})
        self.block_n_frames = block_n_frames

    def _add_weights(self, size: int, depth: int) -> None:
        self.mean = self.add_weight(shape=(size,), initializer="zeros", name="mean")
        # Before there are data any orthonormal code will do, the same at both ends.
        orthonormal = keras.initializers.Orthogonal(seed=0)
        self.components = self.add_weight(
            shape=(size, depth), initializer=orthonormal, name="components"
        )
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")


class PrincipalEncoding(_LinearPath):
    """Blocks of frames → their principal components over one scale: Wᵀ(x - μ)/c.

    Args:
      block_n_frames: frames to a latent.
      depth: components.
    """

    def __init__(self, block_n_frames: int, depth: int, **kwargs):
        super().__init__(block_n_frames, **kwargs)
        self.depth = depth

    def build(self, input_shape):
        self._add_weights(self.block_n_frames * input_shape[-1], self.depth)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, k·block_n_frames, F] → [B, k, depth]."""
        blocks = keras.ops.reshape(x, (keras.ops.shape(x)[0], -1, self.mean.shape[0]))
        return keras.ops.matmul(blocks - self.mean, self.components) / self.scale

    def compute_output_shape(self, input_shape):
        batch_size, n_frames, _ = input_shape
        return (batch_size, n_frames and n_frames // self.block_n_frames, self.depth)


class PrincipalDecoding(_LinearPath):
    """Inverse of `PrincipalEncoding` on what its components span: μ + c·W·y.

    Args:
      block_n_frames: frames to a latent.
      n_features: numbers a frame.
    """

    def __init__(self, block_n_frames: int, n_features: int, **kwargs):
        super().__init__(block_n_frames, **kwargs)
        self.n_features = n_features

    def build(self, input_shape):
        self._add_weights(self.block_n_frames * self.n_features, input_shape[-1])

    def call(self, y: tf.Tensor) -> tf.Tensor:
        """[B, k, depth] → [B, k·block_n_frames, F]."""
        blocks = keras.ops.matmul(y * self.scale, keras.ops.transpose(self.components)) + self.mean
        return keras.ops.reshape(blocks, (keras.ops.shape(y)[0], -1, self.n_features))

    def compute_output_shape(self, input_shape):
        batch_size, n_latents, _ = input_shape
        return (batch_size, n_latents and n_latents * self.block_n_frames, self.n_features)


class Standardization(keras.layers.Layer):
    """(x - mean)/deviation of every channel, set from the data: networks read unit spread."""

    def __init__(self, **kwargs):
        super().__init__(trainable=False, **{"dtype": "float32", **kwargs})

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, initializer="zeros", name="mean")
        self.deviation = self.add_weight(shape=shape, initializer="ones", name="deviation")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, T, C] → [B, T, C]."""
        return (x - self.mean) / self.deviation

    def compute_output_shape(self, input_shape):
        return input_shape


class Gain(keras.layers.Layer):
    """One constant factor, set from the data: what a network of unit spread writes is as large as
    what it corrects."""

    def __init__(self, **kwargs):
        super().__init__(trainable=False, **{"dtype": "float32", **kwargs})

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(), initializer="ones", name="gain")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, T, C] → [B, T, C]."""
        return x * self.gain

    def compute_output_shape(self, input_shape):
        return input_shape


class Moments:
    """Running sums of rows from which their mean and covariance follow, in float64.

    Attributes:
      n_rows: rows added.
      total: float64 [S], their sum.
      products: float64 [S, S], the sum of their outer products.
    """

    def __init__(self, size: int):
        self.n_rows = 0
        self.total = np.zeros(size)
        self.products = np.zeros((size, size))

    def add(self, rows: np.ndarray) -> None:
        """Adds rows [n, S]."""
        rows = np.asarray(rows, np.float64)
        self.n_rows += len(rows)
        self.total += rows.sum(axis=0)
        self.products += rows.T @ rows


@dataclasses.dataclass(frozen=True)
class PrincipalComponents:
    """A linear code of blocks of frames.

    Attributes:
      mean: float32 [S], of all blocks.
      components: float32 [S, depth], orthonormal columns, the one of largest variance first; in
        each the element of largest magnitude is positive.
      deviations: float32 [depth], standard deviation of the data along each.
      feature_mean, feature_deviation: float32 [F], of single frames.
      share: of the variance that the components hold.
    """

    mean: np.ndarray
    components: np.ndarray
    deviations: np.ndarray
    feature_mean: np.ndarray
    feature_deviation: np.ndarray
    share: float

    @classmethod
    def of(cls, moments: Moments, depth: int, n_features: int) -> PrincipalComponents:
        """The first `depth` principal components.

        Raises:
          ValueError: fewer rows than components were added.
        """
        if moments.n_rows <= depth:
            raise ValueError(
                f"{moments.n_rows} training blocks are too few for {depth} principal components: "
                "prepare more audio"
            )
        mean = moments.total / moments.n_rows
        covariance = moments.products / moments.n_rows - np.outer(mean, mean)
        variances, vectors = np.linalg.eigh(covariance)
        order = np.argsort(variances)[::-1][:depth]
        components = vectors[:, order]
        largest = components[np.argmax(np.abs(components), axis=0), np.arange(depth)]
        by_feature = np.diag(covariance).reshape(-1, n_features) + np.square(
            mean.reshape(-1, n_features)
        )
        feature_mean = mean.reshape(-1, n_features).mean(axis=0)
        feature_variance = by_feature.mean(axis=0) - np.square(feature_mean)
        return cls(
            mean=mean.astype(np.float32),
            components=(components * np.sign(largest)).astype(np.float32),
            deviations=np.sqrt(np.maximum(variances[order], 0.0)).astype(np.float32),
            feature_mean=feature_mean.astype(np.float32),
            feature_deviation=np.sqrt(np.maximum(feature_variance, 0.0)).astype(np.float32),
            share=float(variances[order].sum() / variances.sum()),
        )

    @property
    def scale(self) -> float:
        """c: what latents before their tanh are measured in."""
        return _SCALE_N_DEVIATIONS * float(self.deviations[0])


def install(found: PrincipalComponents, encoder: keras.Model, decoder: keras.Model) -> None:
    """Sets the constant layers of both ends of a level."""
    for network in (encoder, decoder):
        layer = network.get_layer("principal")
        layer.mean.assign(found.mean)
        layer.components.assign(found.components)
        layer.scale.assign(found.scale)
    latent_deviations = found.deviations / found.scale
    _set_spread(encoder, found.feature_mean, found.feature_deviation, gain=latent_deviations)
    _set_spread(decoder, np.float32(0.0), latent_deviations, gain=found.feature_deviation)


def _set_spread(
    network: keras.Model, mean: np.ndarray, deviation: np.ndarray, gain: np.ndarray
) -> None:
    """Sets what a network reads to unit spread, and what it writes to the root mean square gain."""
    for layer in network.layers:
        if isinstance(layer, Standardization):
            layer.mean.assign(np.broadcast_to(mean, deviation.shape))
            layer.deviation.assign(np.maximum(deviation, _LEAST_DEVIATION_SHARE * deviation.max()))
        if isinstance(layer, Gain):
            layer.gain.assign(np.sqrt(np.mean(np.square(gain))))
