"""Blocks of the networks: position in an excerpt; those of the latent GAN (paper §4.2, §5)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from musika_tf.conditioning.units import to_model_units
from musika_tf.config import Signal
from musika_tf.networks import coordinates

# FastGAN squeezes the low-rate features to this many steps before it looks at them.
_EXCITATION_N_STEPS = 4


class SameShape(keras.layers.Layer):
    """What comes out has the shape of the first input."""

    def compute_output_shape(self, input_shape):
        return input_shape


class Fixed(SameShape):
    """Its weights are set from the data and not trained; it computes in float32 in any network."""

    def __init__(self, **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)


class PositionModulation(SameShape):
    """A learnt scale and shift for every time step of an excerpt and every channel.

        y[t] = (1 + scale[t]) * x[t] + shift[t]

    Convolutions alone answer a steady tone with the same output at every step, or with a pattern
    that repeats with their strides, whereas the phase of a steady tone advances by an amount that
    depends on its pitch: a decoder that makes phases has to know how far into the excerpt it is.
    Starts as the identity.
    """

    def build(self, input_shape):
        shape = tuple(input_shape[1:])
        self.scale = self.add_weight(shape=shape, initializer="zeros", name="scale")
        self.shift = self.add_weight(shape=shape, initializer="zeros", name="shift")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Modulates x [B, T, C]."""
        return x * (1.0 + self.scale) + self.shift


class SpatiallyAlignedAdaIN(SameShape):
    """A normalisation, then a scale and a shift that follow the coordinates.

    SA-AdaIN of ALIS (Skorokhodov et al. 2021), used after each convolution of the generator
    (paper §4.2). A linear function of the modulation signal, read at the same time step, gives the
    new scale and shift:

        y[t] = (1 + m[t] @ S + s) * normalised(x)[t] + m[t] @ H + h

    Over a patch, as in the paper, every channel of every example is brought to zero mean and unit
    variance over its own time steps. Over a step (ours) the channels of every step are divided by
    their root mean square: nothing depends on how long a window is.

    Args:
      normalisation: "step" or "patch".
      epsilon: added to the variance. 1e-4 bounds the gain at 100: a channel that hardly changes
        over the patch (anchors that are almost equal) stays small instead of becoming noise.
      modulation_scale: variance that the linear part of scale and of shift has at first, for a
        modulation signal of unit variance. 0 starts as the plain normalisation.
    """

    def __init__(
        self,
        normalisation: str = "patch",
        epsilon: float = 1e-4,
        modulation_scale: float = 0.25,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.normalisation = normalisation
        self.epsilon = epsilon
        self.modulation_scale = modulation_scale

    def build(self, x_shape, modulation_shape):
        n_outputs = 2 * x_shape[-1]
        spread = (self.modulation_scale / modulation_shape[-1]) ** 0.5
        self.kernel = self.add_weight(
            shape=(modulation_shape[-1], n_outputs),
            initializer=keras.initializers.RandomNormal(stddev=spread),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(n_outputs,), initializer="zeros", name="bias")

    def call(self, x: tf.Tensor, modulation: tf.Tensor) -> tf.Tensor:
        """x [B, T, C], and a modulation [B, T, M] at the rate of x → [B, T, C]."""
        modulated = tf.matmul(modulation, self.kernel) + self.bias
        scale, shift = tf.split(modulated, 2, axis=-1)
        return (1.0 + scale) * self._normalised(x) + shift

    def _normalised(self, x: tf.Tensor) -> tf.Tensor:
        # Variances in float32: squares of half-precision numbers lose too much.
        wide = tf.cast(x, tf.float32)
        if self.normalisation == "patch":
            mean, variance = tf.nn.moments(wide, axes=[1], keepdims=True)
            wide -= mean
        else:
            variance = tf.reduce_mean(tf.square(wide), axis=-1, keepdims=True)
        return tf.cast(wide * tf.math.rsqrt(variance + self.epsilon), x.dtype)


class GatedLinearUnit(keras.layers.Layer):
    """FastGAN's activation: one half of the channels, times the sigmoid of the other half."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[B, T, 2·C] → [B, T, C]."""
        values, gates = tf.split(x, 2, axis=-1)
        return values * tf.sigmoid(gates)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)


class SkipLayerExcitation(keras.layers.Layer):
    """Gates the channels of high-rate features with low-rate ones (FastGAN's SLE; paper §4.2).

    FastGAN (Liu et al. 2021, eq. 1) in one dimension: the low-rate features are averaged to four
    steps, a convolution over these four leaves one vector, and SiLU, a 1x1 convolution and a
    sigmoid make one factor a channel of it. Gradients of the fine rates reach the coarse ones by
    this short way. The one step left has nothing to normalise over, so no SA-AdaIN follows.
    """

    def build(self, low_shape, high_shape):
        n_low, n_high = low_shape[-1], high_shape[-1]
        self.squeeze_kernel = self.add_weight(
            shape=(_EXCITATION_N_STEPS, n_low, n_high),
            initializer="he_normal",
            name="squeeze_kernel",
        )
        self.squeeze_bias = self.add_weight(
            shape=(n_high,), initializer="zeros", name="squeeze_bias"
        )
        self.gate_kernel = self.add_weight(
            shape=(n_high, n_high), initializer="glorot_normal", name="gate_kernel"
        )
        self.gate_bias = self.add_weight(shape=(n_high,), initializer="zeros", name="gate_bias")
        self.pooling = adaptive_pooling_matrix(low_shape[1], _EXCITATION_N_STEPS)

    def call(self, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        """High [B, T_high, C_high] times the gates that low [B, T_low, C_low], T_low static, gives:
        [B, T_high, C_high]."""
        pooled = tf.einsum("st,btc->bsc", tf.cast(self.pooling, low.dtype), low)
        # A convolution with as many taps as steps: one matrix product over steps and channels.
        hidden = tf.einsum("bsc,scd->bd", pooled, self.squeeze_kernel) + self.squeeze_bias
        gates = tf.sigmoid(tf.matmul(tf.nn.silu(hidden), self.gate_kernel) + self.gate_bias)
        return high * gates[:, tf.newaxis]

    def compute_output_shape(self, low_shape, high_shape):
        return high_shape


class SkipLayerExcitationAlongTime(keras.layers.Layer):
    """Skip-layer excitation whose gates change along time (ours).

    As `SkipLayerExcitation`, but the low-rate features are not pooled over the patch: a convolution
    over three of their steps gives the gates of the high-rate steps that belong to the middle one.
    """

    def __init__(self, n_channels: int, ratio: int, **kwargs):
        super().__init__(**kwargs)
        self.squeeze = keras.layers.Conv1D(
            n_channels, 3, activation="silu", kernel_initializer="he_normal", name="squeeze"
        )
        self.gate = keras.layers.Conv1D(
            n_channels, 1, activation="sigmoid", kernel_initializer="glorot_normal", name="gate"
        )
        self.ratio = ratio

    def build(self, low_shape):
        self.squeeze.build(low_shape)
        self.gate.build((*low_shape[:-1], self.squeeze.filters))

    def call(self, low: tf.Tensor) -> tf.Tensor:
        """[B, T_low, C_low] → gates [B, (T_low - 2)·ratio, n_channels] in (0, 1)."""
        return tf.repeat(self.gate(self.squeeze(low)), self.ratio, axis=1)

    def compute_output_shape(self, low_shape):
        n_low = low_shape[1]
        n_steps = None if n_low is None else (n_low - 2) * self.ratio
        return (low_shape[0], n_steps, self.squeeze.filters)


class PositionFeatures(keras.layers.Layer):
    """Where between two anchors each step lies, `context_n_steps` of them before the window's
    first: `coordinates.position_features`."""

    def __init__(self, seq_len: int, context_n_steps: int, **kwargs):
        super().__init__(**kwargs)
        self.seq_len = seq_len
        self.context_n_steps = context_n_steps

    def call(self, start: tf.Tensor, along_time: tf.Tensor) -> tf.Tensor:
        """Step of the window's first int32 [B], and anything [B, T, …] → [B, T, features]."""
        steps = tf.range(tf.shape(along_time)[1]) - self.context_n_steps
        features = coordinates.position_features(start[:, tf.newaxis] + steps, self.seq_len)
        return tf.cast(features, self.compute_dtype)

    def compute_output_shape(self, start_shape, along_time_shape):
        return (*along_time_shape[:2], coordinates.n_position_features(self.seq_len))


class OutputScale(Fixed):
    """A fixed scale and shift of each channel, `scale · x + shift`: the spread of the latents.

    The identity until they are set.
    """

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.scale = self.add_weight(shape=shape, initializer="ones", name="scale")
        self.shift = self.add_weight(shape=shape, initializer="zeros", name="shift")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """[..., C] → [..., C]."""
        return x * self.scale + self.shift


class CrossChannelMixing(SameShape):
    """A fixed random mix of channels before the discriminator (Projected GAN's CCM; paper §4.2).

    The mix is the random rotation of a seed, so that it hides nothing and keeps distances, and it
    is a non-trainable weight: checkpoints hold it, and a resumed training sees the same one.
    """

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape):
        self.mix = self.add_weight(
            shape=(input_shape[-1], input_shape[-1]),
            initializer=keras.initializers.Orthogonal(seed=self.seed),
            trainable=False,
            name="mix",
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Mixes the channels of x, [B, T, C] → [B, T, C]."""
        return tf.matmul(x, self.mix)


class ModelUnits(keras.layers.Layer):
    """Conditioning, signals in the order of its last axis, in user units → what the networks
    compute with, [-1, 1].

    In float32 whatever the precision of the networks: bfloat16 cannot tell 127.8 from 128 BPM.
    With responses, what comes in is to be heard, and what is given for it goes on.
    """

    def __init__(self, signals: Sequence[Signal], **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.signals = tuple(signals)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """[B, T, C] in user units → [B, T, n_features]."""
        if any(signal.response for signal in self.signals):
            columns = zip(tf.unstack(values, axis=-1), self.signals, strict=True)
            values = tf.stack([_given(x, signal.response) for x, signal in columns], axis=-1)
        return to_model_units(values, self.signals)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], sum(signal.n_features for signal in self.signals))


def _given(heard: tf.Tensor, response: Sequence[tuple[float, float]]) -> tf.Tensor:
    """What is given so that this is heard: lines between the points of a response, held at its
    ends; without a response the same."""
    if not response:
        return heard
    given = tf.fill(tf.shape(heard), response[0][0])
    for (given0, heard0), (given1, heard1) in itertools.pairwise(response):
        slope = (given1 - given0) / (heard1 - heard0)
        given += slope * tf.clip_by_value(heard - heard0, 0.0, heard1 - heard0)
    return given


def adaptive_pooling_matrix(n_inputs: int, n_outputs: int) -> np.ndarray:
    """Weights of an average pooling to a given number of steps, whatever the number given: float32
    [n_outputs, n_inputs]; rows sum to 1.

    Output i averages inputs floor(i·n/m) up to ceil((i+1)·n/m), so that every input counts and
    steps repeat where there are too few.
    """
    weights = np.zeros((n_outputs, n_inputs), np.float32)
    for i in range(n_outputs):
        first, end = i * n_inputs // n_outputs, -(-(i + 1) * n_inputs // n_outputs)
        weights[i, first:end] = 1.0 / (end - first)
    return weights


def conditioning_inputs(
    signals: Sequence[Signal], n_steps: int | None
) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor]]:
    """The input `conditioning` and the same in model units; nothing of an unconditional system."""
    if not signals:
        return [], []
    # Not in the precision of the networks: see the layer.
    conditioning = keras.Input((n_steps, len(signals)), dtype="float32", name="conditioning")
    in_model_units = ModelUnits(signals, name="conditioning_in_model_units")(conditioning)
    return [conditioning], [in_model_units]
