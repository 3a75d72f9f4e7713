"""The generator: FastGAN in one dimension with SA-AdaIN (paper §3.2, §4.2, §5).

That of a conditional system has one more input: the signals along time, in user units. Layers carry
explicit names, which checkpoints use: `steps16_…` works on 16 steps a patch.

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

# Stages between the features that excite and those excited. FastGAN skips four doublings of an
# image's side; a patch has four to five doublings in all, so three, or there would be one skip.
_EXCITATION_N_STAGES = 3


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
      coordinates, style, conditioning, start: inputs of the generator, with the context beside the
        window; None: the system is unconditional.

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


def set_output_spread(
    generator: keras.Model, scale: np.ndarray, shift: np.ndarray, correlation: np.ndarray
) -> None:
    """Gives the output of an untrained generator, normalised over steps, the spread of the data.

    Were left and right not alike from the beginning, what they differ by, which is little in music
    and which critics see enlarged, would be all that they judge.

    Args:
      scale, shift: [stereo_latent_depth], standard deviation and mean of the artanh of the latents;
        they stay.
      correlation: [stereo_latent_depth / 2], of left and right, -1 to 1; of the first output alone.
    """
    generator.get_layer("output_scale").set_weights([scale, shift])
    convolution = generator.get_layer("output_conv")
    kernel, bias = convolution.get_weights()
    left, right = np.split(kernel, 2, axis=-1)
    mid = np.sqrt(1.0 + correlation) * (left + right) / 2.0
    side = np.sqrt(1.0 - correlation) * (left - right) / 2.0
    convolution.set_weights([np.concatenate([mid + side, mid - side], axis=-1), bias])


def _generator_inputs(
    config: Config,
) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor]]:
    """The inputs, and what of them goes along time, at the finest rate."""
    gan, is_patch = config.gan, config.gan.normalisation == "patch"
    n_steps = gan.seq_len if is_patch else None
    coordinates = keras.Input((n_steps, gan.anchor_depth), name="coordinates")
    style = keras.Input((n_steps, gan.style_depth), name="style")
    conditioning, in_model_units = layers.conditioning_inputs(config.conditioning.signals, n_steps)
    start = keras.Input((), dtype="int32", name="start")
    inputs = [coordinates, style, *conditioning, start]
    if is_patch:
        style = keras.layers.RepeatVector(n_steps, name="style_along_time")(style[:, -1])
        return inputs, [coordinates, *in_model_units, style]
    position = layers.PositionFeatures(gan.seq_len, gan.context_n_steps, name="position")
    return inputs, [coordinates, *in_model_units, style, position(start, coordinates)]


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
