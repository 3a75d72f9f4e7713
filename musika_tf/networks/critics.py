"""What looks at latents: the discriminator and the estimator of conditioning (paper §4.2).

Layers carry explicit names, which checkpoints use: `steps16_…` works on 16 steps a pair of patches.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from musika_tf.config import Config
from musika_tf.networks import layers
from musika_tf.networks.principal import before_tanh

# Side, left less right, has some tenth of the deviation of mid, their sum: its latents count more
# by the root of that, as those of all channels do.
_SIDE_GAIN = 3.0

_LEAKY_SLOPE = 0.2

# Of the estimator: with kernels of 3 they see 61 steps beside the 5 of its first layer.
_ESTIMATOR_DILATIONS = (2, 4, 8, 16)

# The decoder behind the discriminator is a regulariser: a quarter of its widths is enough.
_DECODER_WIDTH_DIVISOR = 4

# All steps at once are looked at by half as many features.
_DENSE_WIDTH_DIVISOR = 2


def standardised(config: Config, generator: keras.Model, latents: tf.Tensor) -> tf.Tensor:
    """Latents as discriminator and estimator see them: of about unit variance.

    Principal components differ in spread by a factor of 30. Were all made equal, most of what is
    judged would hardly be heard; left as they are, most would not be seen. So each channel is
    divided by the root of its spread, and all of them by one number. A system that is normalised
    over patches sees them as they are.

    What left and right differ by would be the least of all that is seen, and phases hang on it:
    with `mid_side` it is seen larger.

    Args:
      generator: whose output scale has been set.
      latents: float32 [..., stereo_latent_depth] in (-1, 1).
    """
    if config.gan.normalisation == "step":
        layer = generator.get_layer("output_scale")
        spread = layer.scale * tf.reduce_mean(layer.scale)
        latents = (before_tanh(latents) - layer.shift) * tf.math.rsqrt(spread)
    if config.gan.mid_side:
        matrix = mid_side_matrix(config.stereo_latent_depth)
        latents = tf.matmul(latents, tf.constant(matrix, tf.float32))
    return latents


def mid_side_matrix(depth: int) -> np.ndarray:
    """[left, right] times this [depth, depth] is [mid, side], side with its gain."""
    one = np.eye(depth // 2)
    return np.block([[one, _SIDE_GAIN * one], [one, -_SIDE_GAIN * one]]) / np.sqrt(2.0)


def build_discriminator(config: Config) -> keras.Model:
    """The discriminator with the light decoder that rebuilds its input (paper §4.2).

    Channels are mixed first, and the conditioning is put beside them. Then the rate is halved stage
    by stage, each time as FastGAN does: the mean of a convolved path and of an average-pooled one.
    No normalisation.

    Returns:
      Model of `latents` [B, 2·seq_len, stereo_latent_depth], two adjacent patches, and, if the
      system is conditional, `conditioning` [B, 2·seq_len, n_signals] in user units, giving
      `logits` float32 [B, T'], positive for real ones, with a dense logit also `dense_logit`
      [B, 1], which sees all steps, and `reconstruction` of the latents, float32. The latents are
      those of `standardised`.
    """
    widths, n_steps = config.gan.latent_discriminator_widths, 2 * config.gan.seq_len
    latents = keras.Input((n_steps, config.stereo_latent_depth), name="latents")
    # Labels are what it is: never what is to be heard.
    signals = config.as_trained.conditioning.signals
    conditioning, in_model_units = layers.conditioning_inputs(signals, n_steps)
    x = layers.CrossChannelMixing(name="mixing")(latents)
    if in_model_units:
        x = keras.layers.Concatenate(name="mixed_and_conditioning")([x, *in_model_units])
    x = _leaky_conv(x, widths[0], 3, name="input")
    for width in widths[1:]:
        x = _down_block(x, width)
    hidden = _leaky_conv(x, widths[-1], 3, name="logits_hidden")
    logits = keras.layers.Conv1D(1, 1, dtype="float32", name="logits_conv")(hidden)
    logits = [keras.layers.Flatten(dtype="float32", name="logits")(logits)]
    if config.gan.dense_logit:
        logits.append(_dense_logit(x))
    reconstruction = _decoder(config, x)
    inputs = [latents, *conditioning] if conditioning else latents
    return keras.Model(inputs, [*logits, reconstruction], name="discriminator")


def judged(
    discriminator: keras.Model, latents: tf.Tensor, conditioning: tf.Tensor | None
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Logits of a discriminator, [B, n] of each kind, and its reconstruction of the latents, which
    are `standardised`; conditioning of None: the system is unconditional."""
    *logits, reconstruction = discriminator(
        latents if conditioning is None else [latents, conditioning]
    )
    return logits, reconstruction


def _dense_logit(x):
    """A logit of all steps together: whether the parts belong to each other."""
    width = max(1, x.shape[-1] // _DENSE_WIDTH_DIVISOR)
    hidden = _leaky_conv(x, width, x.shape[1], name="dense_hidden", padding="valid")
    logit = keras.layers.Conv1D(1, 1, dtype="float32", name="dense_logit_conv")(hidden)
    return keras.layers.Flatten(dtype="float32", name="dense_logit")(logit)


def build_estimator(config: Config) -> keras.Model:
    """Reads in latents what belongs to them: the conditioning, in model units.

    The paper has no such network (ours): learning from real latents, it finds what the signals mean
    long before the discriminator minds them, and tells the generator where it does not follow
    (auxiliary classifier GAN, Odena et al. 2017, with estimates in place of classes). Dilated
    convolutions see 65 steps: 12 s of piano, 6 s of techno.

    Returns:
      Model of `latents` [B, T, stereo_latent_depth], T static, giving float32 [B, T, n_features].
    """
    latents = keras.Input((2 * config.gan.seq_len, config.stereo_latent_depth), name="latents")
    width = config.gan.latent_discriminator_widths[0]
    x = _leaky_conv(latents, width, 5, name="input")
    for dilation in _ESTIMATOR_DILATIONS:
        y = _leaky_conv(x, width, 3, name=f"dilated{dilation}", dilation_rate=dilation)
        x = keras.layers.Add(name=f"dilated{dilation}_sum")([x, y])
    # Estimates are zero at first: the generator hears of nothing that was not learnt.
    estimate = keras.layers.Conv1D(
        config.conditioning.n_features,
        1,
        kernel_initializer="zeros",
        dtype="float32",
        name="conditioning",
    )
    return keras.Model(latents, estimate(x), name="estimator")


def _leaky_conv(x, width: int, kernel_size: int, name: str, **options):
    convolution = keras.layers.Conv1D(
        width,
        kernel_size,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
        **{"padding": "same"} | options,
    )
    return keras.layers.LeakyReLU(_LEAKY_SLOPE, name=f"{name}_leaky")(convolution(x))


def _down_block(x, width: int):
    stage = f"steps{x.shape[1] // 2}"
    main = _leaky_conv(x, width, 4, strides=2, name=f"{stage}_first")
    main = _leaky_conv(main, width, 3, name=f"{stage}_second")
    direct = keras.layers.AveragePooling1D(2, name=f"{stage}_pool")(x)
    direct = _leaky_conv(direct, width, 1, name=f"{stage}_direct")
    return keras.layers.Average(name=f"{stage}_mean")([main, direct])


def _decoder(config: Config, x):
    for width in config.gan.latent_discriminator_widths[-2::-1]:
        stage = f"decoder_steps{2 * x.shape[1]}"
        x = keras.layers.UpSampling1D(2, name=f"{stage}_upsample")(x)
        x = _leaky_conv(x, max(1, width // _DECODER_WIDTH_DIVISOR), 3, name=stage)
    x = keras.layers.Conv1D(
        config.stereo_latent_depth, 3, padding="same", name="decoder_output_conv"
    )(x)
    # Standardised latents have no bounds.
    activation = "tanh" if config.gan.normalisation == "patch" else "linear"
    return keras.layers.Activation(activation, dtype="float32", name="reconstruction")(x)
