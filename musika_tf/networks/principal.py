"""The principal path of an autoencoder level: a linear code beside the network, set from the data.

Both ends of a level are a linear map and a network that corrects it. With x a frame (level 1) or a
block of frames (level 2), μ their mean, the columns of W their first principal components, c one
scale for all of them, and y the latents before their tanh:

    encoder    z = tanh(Wᵀ(x - μ)/c + network(x))
    decoder    x̂ = μ + c·W·artanh(z) + network(z)

(level 2 reads and writes level-1 latents, so its x is artanh of those). The last layers of the
networks start at zero, so that an untrained level already keeps what so many principal components
keep; training begins from there. The linear maps stay as they are.

With one scale for all components y is a rotation of the frames: distances between latents are
distances between spectrograms, and level 2 can do to y what level 1 did to frames.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from musika_tf.networks.layers import Fixed

# artanh is taken of latents up to this: 3.0, with this c nine deviations of the first component.
# Beyond, it would magnify the rounding of latents more than a hundred times.
_LATENT_LIMIT = 0.995
# c, in standard deviations of the first component: tanh is nearly straight for most of what occurs.
_SCALE_N_DEVIATIONS = 3.0
# Data that move less than this, in units of ln(power)/10 or of artanh, are silence.
_LEAST_DEVIATION = 1e-4
# A channel that hardly moves is not magnified without limit: least deviation over the largest.
_LEAST_DEVIATION_SHARE = 0.01


def before_tanh(latents: tf.Tensor) -> tf.Tensor:
    """artanh of latents in [-1, 1], finite at both ends."""
    limited = keras.ops.clip(latents, -_LATENT_LIMIT, _LATENT_LIMIT)
    return 0.5 * keras.ops.log((1.0 + limited) / (1.0 - limited))


class _LinearPath(keras.layers.Layer):
    """What both directions hold: a mean [S], components [S, depth], a scale; S numbers a block.

    Args:
      block_n_frames: frames to a latent.
      n_outputs: channels of what it gives: components of a latent, or numbers of a frame.
    """

    def __init__(self, block_n_frames: int, n_outputs: int, **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.block_n_frames, self.n_outputs = block_n_frames, n_outputs

    def _add_weights(self, size: int, depth: int) -> None:
        self.mean = self.add_weight(shape=(size,), initializer="zeros", name="mean")
        # Before there are data any orthonormal code will do, the same at both ends.
        orthonormal = keras.initializers.Orthogonal(seed=0)
        self.components = self.add_weight(
            shape=(size, depth), initializer=orthonormal, name="components"
        )
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")


class PrincipalEncoding(_LinearPath):
    """Blocks of frames → their principal components over one scale: Wᵀ(x - μ)/c."""

    def build(self, input_shape):
        self._add_weights(self.block_n_frames * input_shape[-1], self.n_outputs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, k·block_n_frames, F] → [B, k, depth]."""
        blocks = tf.reshape(x, (tf.shape(x)[0], -1, self.mean.shape[0]))
        return tf.tensordot(blocks - self.mean, self.components, axes=1) / self.scale

    def compute_output_shape(self, input_shape):
        batch_size, n_frames, _ = input_shape
        return (batch_size, n_frames and n_frames // self.block_n_frames, self.n_outputs)


class PrincipalDecoding(_LinearPath):
    """Inverse of `PrincipalEncoding` on what its components span: μ + c·W·y."""

    def build(self, input_shape):
        self._add_weights(self.block_n_frames * self.n_outputs, input_shape[-1])

    def call(self, y: tf.Tensor) -> tf.Tensor:
        """[B, k, depth] → [B, k·block_n_frames, F]."""
        blocks = tf.tensordot(y * self.scale, self.components, axes=[[2], [1]]) + self.mean
        return tf.reshape(blocks, (tf.shape(y)[0], -1, self.n_outputs))

    def compute_output_shape(self, input_shape):
        batch_size, n_latents, _ = input_shape
        return (batch_size, n_latents and n_latents * self.block_n_frames, self.n_outputs)


class Standardization(Fixed):
    """(x - mean)/deviation of every channel, set from the data: networks read unit spread."""

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, initializer="zeros", name="mean")
        self.deviation = self.add_weight(shape=shape, initializer="ones", name="deviation")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, T, C] → [B, T, C]."""
        return (x - self.mean) / self.deviation


class Gain(Fixed):
    """One constant factor, set from the data: networks write unit spread.

    It is as large as what they correct.
    """

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(), initializer="ones", name="gain")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, T, C] → [B, T, C]."""
        return x * self.gain


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
      share: of the variance that the components hold, 0 to 1.
    """

    mean: np.ndarray
    components: np.ndarray
    deviations: np.ndarray
    feature_mean: np.ndarray
    feature_deviation: np.ndarray
    share: float

    @classmethod
    def of(cls, moments: Moments, depth: int, n_features: int) -> PrincipalComponents:
        """The first principal components of the rows that were added.

        Args:
          moments: of the rows, each a block of frames.
          depth: components, at most the size of a row.
          n_features: numbers to a frame, F; a row is a whole number of frames.

        Raises:
          ValueError: there are no more rows than components, or all rows are alike.
        """
        if moments.n_rows <= depth:
            raise ValueError(
                f"{moments.n_rows} training blocks are too few for {depth} principal components: "
                "prepare more audio"
            )
        mean, products = moments.total / moments.n_rows, moments.products / moments.n_rows
        # In ascending order of the variances.
        variances, vectors = np.linalg.eigh(products - np.outer(mean, mean))
        deviations = _root(variances[::-1][:depth])
        if deviations[0] < _LEAST_DEVIATION:
            raise ValueError("the training data are silent throughout: prepare other audio")
        components = vectors[:, ::-1][:, :depth]
        largest = components[np.argmax(np.abs(components), axis=0), np.arange(depth)]
        feature_mean, feature_square = (
            by_block.reshape(-1, n_features).mean(axis=0) for by_block in (mean, np.diag(products))
        )
        return cls(
            mean=mean.astype(np.float32),
            components=(components * np.sign(largest)).astype(np.float32),
            deviations=deviations,
            feature_mean=feature_mean.astype(np.float32),
            feature_deviation=_root(feature_square - np.square(feature_mean)),
            share=float(variances[::-1][:depth].sum() / variances.sum()),
        )

    @property
    def scale(self) -> float:
        """c: what latents before their tanh are measured in."""
        return _SCALE_N_DEVIATIONS * float(self.deviations[0])


def _root(variances: np.ndarray) -> np.ndarray:
    """Standard deviations, float32; rounding can make a variance of nothing negative."""
    return np.sqrt(np.maximum(variances, 0.0)).astype(np.float32)


def install(found: PrincipalComponents, encoder: keras.Model, decoder: keras.Model) -> None:
    """Sets the constant layers of both ends of a level."""
    for network in (encoder, decoder):
        layer = network.get_layer("principal")
        layer.mean.assign(found.mean)
        layer.components.assign(found.components)
        layer.scale.assign(found.scale)
    latent_deviation = found.deviations / found.scale
    latent_mean = np.zeros_like(latent_deviation)
    _set_spread(encoder, found.feature_mean, found.feature_deviation, written=latent_deviation)
    _set_spread(decoder, latent_mean, latent_deviation, written=found.feature_deviation)


def _set_spread(
    network: keras.Model, mean: np.ndarray, deviation: np.ndarray, written: np.ndarray
) -> None:
    """Sets the constants between data of unit spread and those that a network reads and writes.

    Args:
      network: an end of a level; at level 1 it may lack either layer.
      mean, deviation: of each channel that it reads.
      written: deviation of each channel that it writes.
    """
    for layer in network.layers:
        if isinstance(layer, Standardization):
            layer.mean.assign(mean)
            layer.deviation.assign(np.maximum(deviation, _LEAST_DEVIATION_SHARE * deviation.max()))
        if isinstance(layer, Gain):
            layer.gain.assign(np.sqrt(np.mean(np.square(written))))
