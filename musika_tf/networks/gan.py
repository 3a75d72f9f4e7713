"""The latent GAN: FastGAN in one dimension with SA-AdaIN (paper §3.2, §4.2, §5).

Both networks of a conditional system have one more input: the signals along time, in user units.
Layers carry explicit names, which checkpoints use: `steps16_…` works on 16 steps a patch (in the
generator) or a pair of patches (in the discriminator).

A generator that is normalised over steps is one computation along an endless line, of which it
makes windows. Its convolutions are not padded: each takes a step of context away on either side.

    steps beyond the window, of the rate itself     in      first, second convolution    twice
    coarsest rate, from the modulation               4              3, 2                   4
    rates between                                    4              3, 2                   4
    finest rate                             4, cut to 3             2, 1
    output convolution                               1               0

So four steps of the coarsest rate are what it reaches, and all that it needs: windows made side by
side, each with its context, are the same as one that is as long as all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from musika_tf.config import Config
from musika_tf.networks import layers
from musika_tf.networks.principal import before_tanh

# Stages between the features that excite and those excited. FastGAN skips four doublings of an
# image's side; a patch has four to five doublings in all, so three, or there would be one skip.
_EXCITATION_N_STAGES = 3

# The rotation of channels before the discriminator.
_MIXING_SEED = 0

_LEAKY_SLOPE = 0.2

# Of the estimator: with kernels of 3 they see 61 steps beside the 5 of its first layer.
_ESTIMATOR_DILATIONS = (2, 4, 8, 16)

# The decoder behind the discriminator is a regulariser: a quarter of its widths is enough.
_DECODER_WIDTH_DIVISOR = 4

# All steps at once are looked at by half as many features.
_DENSE_WIDTH_DIVISOR = 2


# Mean square of features after a gated linear unit at first; excitation halves them.
_GATED_MEAN_SQUARE = 0.46


class _Rate(NamedTuple):
    """What a stage of the generator is given: its name, what steers it, steps of context in it."""

    name: str
    modulation: keras.KerasTensor
    n_context: int


def build_generator(config: Config, name: str = "generator") -> keras.Model:
    """The generator: coordinates, style and conditioning along time → latents of a window.

    Starts from its modulation at the coarsest rate. Each stage doubles the rate and
    convolves twice; every convolution is followed by SA-AdaIN and, but for the last one, a gated
    linear unit. The output depends on the inputs alone: no noise, no statistics of the batch.

    Returns:
      Model of `coordinates` [B, T, anchor_depth], `style` [B, T, style_depth], if the system is
      conditional `conditioning` [B, T, n_signals] in user units, and `start`, int32 [B]: the step
      of the line at which the window begins. Gives float32 latents
      [B, n, stereo_latent_depth] in (-1, 1): left's channels, then right's.
      Normalised over steps: n is a multiple of coarsest_n_steps, so is `start`, and T = n +
      2·context_n_steps: the context before and after comes with the window.
      Normalised over patches: T = n = seq_len; of the style the last step counts, and `start`
      does not.
    """
    gan = config.gan
    inputs, along_time = _generator_inputs(config)
    rates = _rates(config, along_time)
    # What a convolution of 3 takes away on each side where it is not padded.
    lost = min(rates[0].n_context, 1)
    x, margin, stages = rates[0].modulation, rates[0].n_context, []
    for index, (width, rate) in enumerate(zip(gan.generator_widths, rates, strict=True)):
        if index > 0:
            x, margin = keras.layers.UpSampling1D(2, name=f"{rate.name}_upsample")(x), 2 * margin
        wanted = lost if rate is rates[-1] else 2 * lost
        x = _cropped(x, margin - wanted - 2 * lost)
        x = _gated_conv(config, x, rate, wanted + lost, width, f"{rate.name}_first")
        x = _gated_conv(config, x, rate, wanted, width, f"{rate.name}_second")
        margin = wanted
        if index >= _EXCITATION_N_STAGES:
            low = stages[index - _EXCITATION_N_STAGES]
            x = _excited(config, low, x, margin, f"{rate.name}_excitation")
        stages.append(x)
    latents = keras.layers.Activation("tanh", dtype="float32", name="latents")
    return keras.Model(inputs, latents(_output(config, x, rates[-1])), name=name)


def latents(
    config: Config,
    generator: keras.Model,
    coordinates: tf.Tensor,
    style: tf.Tensor,
    conditioning: tf.Tensor | None,
    start: tf.Tensor,
) -> tf.Tensor:
    """What a generator makes of a window of any length, a multiple of coarsest_n_steps.

    One that is normalised over patches makes all patches of the window in one batch.

    Args:
      config: the system.
      generator: of `build_generator`.
      coordinates, style, conditioning, start: its inputs, with the context beside the window;
        None: the system is unconditional.

    Returns:
      float32 [B, T - 2·context_n_steps, stereo_latent_depth] in (-1, 1).
    """
    given = [coordinates, style] if conditioning is None else [coordinates, style, conditioning]
    if config.gan.normalisation == "step":
        return generator([*given, start])
    seq_len, shape = config.gan.seq_len, tf.shape(coordinates)
    patches = [tf.reshape(x, [-1, seq_len, x.shape[-1]]) for x in given]
    made = generator([*patches, tf.repeat(start, shape[1] // seq_len)])
    return tf.reshape(made, [shape[0], shape[1], config.stereo_latent_depth])


def without_context(config: Config, conditioning: Any) -> Any:
    """Of [B, 2·seq_len + 2·context_n_steps, …] what belongs to the window; of None, None."""
    first = config.gan.context_n_steps
    return None if conditioning is None else conditioning[:, first : first + 2 * config.gan.seq_len]


def judged(
    discriminator: keras.Model, latents: tf.Tensor, conditioning: tf.Tensor | None
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Logits of a discriminator, [B, n] of each kind, and its reconstruction of the latents.

    Args:
      discriminator: of `build_discriminator`.
      latents, conditioning: its inputs, latents `standardised`; None: the system is unconditional.
    """
    *logits, reconstruction = discriminator(
        latents if conditioning is None else [latents, conditioning]
    )
    return logits, reconstruction


def set_output_scale(generator: keras.Model, scale: np.ndarray, shift: np.ndarray) -> None:
    """Sets what the output of a generator that is normalised over steps is scaled by.

    Args:
      generator: of `build_generator`.
      scale, shift: [stereo_latent_depth], standard deviation and mean of the artanh of the latents.
    """
    generator.get_layer("output_scale").set_weights([scale, shift])


def standardised(config: Config, generator: keras.Model, latents: tf.Tensor) -> tf.Tensor:
    """Latents as discriminator and estimator see them: of about unit variance.

    Principal components differ in spread by a factor of 30. Were all made equal, most of what is
    judged would hardly be heard; left as they are, most would not be seen. So each channel is
    divided by the root of its spread, and all of them by one number. A system that is normalised
    over patches sees them as they are.

    Args:
      config: the system.
      generator: whose output scale has been set.
      latents: float32 [..., stereo_latent_depth] in (-1, 1).
    """
    if config.gan.normalisation == "patch":
        return latents
    layer = generator.get_layer("output_scale")
    spread = layer.scale * tf.reduce_mean(layer.scale)
    return (before_tanh(latents) - layer.shift) * tf.math.rsqrt(spread)


def _generator_inputs(
    config: Config,
) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor]]:
    """The inputs, and what of them goes along time, at the finest rate."""
    gan, is_patch = config.gan, config.gan.normalisation == "patch"
    n_steps = gan.seq_len if is_patch else None
    coordinates = keras.Input((n_steps, gan.anchor_depth), name="coordinates")
    style = keras.Input((n_steps, gan.style_depth), name="style")
    conditioning, in_model_units = _conditioning(config, n_steps)
    start = keras.Input((), dtype="int32", name="start")
    inputs = [coordinates, style, *conditioning, start]
    if is_patch:
        style = keras.layers.RepeatVector(n_steps, name="style_along_time")(style[:, -1])
        return inputs, [coordinates, *in_model_units, style]
    position = layers.PositionFeatures(gan.seq_len, gan.context_n_steps, name="position")
    return inputs, [coordinates, *in_model_units, style, position(start, coordinates)]


def _conditioning(
    config: Config, n_steps: int | None
) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor]]:
    """The input `conditioning` and the same in model units; nothing of an unconditional system."""
    signals = config.conditioning.signals
    if not signals:
        return [], []
    # Not in the precision of the networks: see the layer.
    conditioning = keras.Input((n_steps, len(signals)), dtype="float32", name="conditioning")
    in_model_units = layers.ModelUnits(signals, name="conditioning_in_model_units")(conditioning)
    return [conditioning], [in_model_units]


def _rates(config: Config, along_time: list[keras.KerasTensor]) -> list[_Rate]:
    """What steers SA-AdaIN at each rate, coarsest first.

    The one place where all that the generator is given comes together, side by side. A coarse step
    is the mean of the fine steps that it stands for; of coordinates that is the coordinate at its
    centre.
    """
    gan, rates = config.gan, []
    modulation = keras.layers.Concatenate(name=f"steps{gan.seq_len}_modulation")(along_time)
    for halving in range(len(gan.generator_widths)):
        name = f"steps{gan.seq_len >> halving}"
        if halving:
            modulation = keras.layers.AveragePooling1D(2, name=f"{name}_modulation")(modulation)
        rates.append(_Rate(name, modulation, gan.context_n_steps >> halving))
    return rates[::-1]


def _cropped(x: keras.KerasTensor, n_steps: int) -> keras.KerasTensor:
    """Without so many steps at each end."""
    return keras.layers.Cropping1D(n_steps)(x) if n_steps else x


def _modulated_conv(config: Config, x, rate: _Rate, margin: int, width: int, name: str, **options):
    """With so many steps left beyond the window on each side."""
    normalisation = config.gan.normalisation
    convolution = keras.layers.Conv1D(
        width,
        3,
        padding="same" if normalisation == "patch" else "valid",
        # The shift of the modulation is one.
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
        **options,
    )
    adain = layers.SpatiallyAlignedAdaIN(normalisation, name=f"{name}_adain", **options)
    return adain(convolution(x), _cropped(rate.modulation, rate.n_context - margin))


def _gated_conv(config: Config, x, rate: _Rate, margin: int, width: int, name: str):
    doubled = _modulated_conv(config, x, rate, margin, 2 * width, name)
    return layers.GatedLinearUnit(name=f"{name}_gate")(doubled)


def _excited(config: Config, low, x, margin: int, name: str):
    """Features excited by those three stages before, which have two steps of context left."""
    if config.gan.normalisation == "patch":
        return layers.SkipLayerExcitation(name=name)(low, x)
    ratio = 2**_EXCITATION_N_STAGES
    gates = layers.SkipLayerExcitationAlongTime(x.shape[-1], ratio, name=name)(low)
    return keras.layers.Multiply(name=f"{name}_product")([x, _cropped(gates, ratio - margin)])


def _output(config: Config, x, finest: _Rate):
    """The last convolution, before the hyperbolic tangent."""
    depth = config.stereo_latent_depth
    # float32 also where the rest is in half precision: latents are what everything else builds on.
    if config.gan.normalisation == "patch":
        return _modulated_conv(config, x, finest, 0, depth, "output", dtype="float32")
    is_excited = len(config.gan.generator_widths) > _EXCITATION_N_STAGES
    # What the features' mean square is at first makes an output of about unit variance.
    gain = (4.0 if is_excited else 1.0) / _GATED_MEAN_SQUARE
    convolution = keras.layers.Conv1D(
        depth,
        3,
        kernel_initializer=keras.initializers.VarianceScaling(gain),
        dtype="float32",
        name="output_conv",
    )
    return layers.OutputScale(name="output_scale")(convolution(x))


def build_discriminator(config: Config, name: str = "discriminator") -> keras.Model:
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
    conditioning, in_model_units = _conditioning(config, n_steps)
    x = layers.CrossChannelMixing(seed=_MIXING_SEED, name="mixing")(latents)
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
    return keras.Model(inputs, [*logits, reconstruction], name=name)


def _dense_logit(x):
    """A logit of all steps together: whether the parts belong to each other."""
    width = max(1, x.shape[-1] // _DENSE_WIDTH_DIVISOR)
    hidden = _leaky_conv(x, width, x.shape[1], name="dense_hidden", padding="valid")
    logit = keras.layers.Conv1D(1, 1, dtype="float32", name="dense_logit_conv")(hidden)
    return keras.layers.Flatten(dtype="float32", name="dense_logit")(logit)


def build_estimator(config: Config, name: str = "estimator") -> keras.Model:
    """Reads in latents what belongs to them: the conditioning, in model units.

    The paper has no such network (ours): learning from real latents, it finds what the signals mean
    long before the discriminator minds them, and tells the generator where it does not follow
    (auxiliary classifier GAN, Odena et al. 2017, with estimates in place of classes). Dilated
    convolutions see 65 steps: 12 s of piano, 6 s of techno.

    Returns:
      Model of `latents` [B, T, stereo_latent_depth], T static, giving float32 [B, T, n_features].
    """
    latents = keras.Input((2 * config.gan.seq_len, config.stereo_latent_depth), name="latents")
    width = max(1, config.gan.latent_discriminator_widths[0])
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
    return keras.Model(latents, estimate(x), name=name)


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
