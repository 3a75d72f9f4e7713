"""The latent GAN: FastGAN in one dimension with SA-AdaIN (paper §3.2, §4.2, §5).

Both networks of a conditional system have one more input: the signals along time, in user units.
Layers carry explicit names, which checkpoints use: `steps16_…` works on 16 steps a patch (in the
generator) or a pair of patches (in the discriminator).
"""

from __future__ import annotations

import keras

from musika_tf.config import Config
from musika_tf.networks import layers

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


def build_generator(config: Config, name: str = "generator") -> keras.Model:
    """The generator: coordinates of a patch and the style of the piece → latents of the patch.

    The conditioning stands beside the coordinates, step by step.

    Starts from its modulation at the coarsest rate. Each stage doubles the rate and
    convolves twice; every convolution is followed by SA-AdaIN and, but for the last one, a gated
    linear unit. The output depends on the inputs alone: no noise, no statistics of the batch.

    Returns:
      Model of `coordinates` [B, seq_len, anchor_depth], `style` [B, style_depth] and, if the
      system is conditional, `conditioning` [B, seq_len, n_signals] in user units, giving float32
      latents [B, seq_len, stereo_latent_depth] in (-1, 1): left's channels, then right's.
    """
    gan = config.gan
    coordinates = keras.Input((gan.seq_len, gan.anchor_depth), name="coordinates")
    style = keras.Input((gan.style_depth,), name="style")
    conditioning, in_model_units = _conditioning(config, gan.seq_len)
    along_time = [coordinates, *in_model_units]
    modulations = _modulations(along_time, style, n_rates=len(gan.generator_widths))
    x, stages = modulations[0], []
    for index, (width, modulation) in enumerate(
        zip(gan.generator_widths, modulations, strict=True)
    ):
        stage = f"steps{modulation.shape[1]}"
        if index > 0:
            x = keras.layers.UpSampling1D(2, name=f"{stage}_upsample")(x)
        x = _gated_conv(x, modulation, width, f"{stage}_first")
        x = _gated_conv(x, modulation, width, f"{stage}_second")
        if index >= _EXCITATION_N_STAGES:
            low = stages[index - _EXCITATION_N_STAGES]
            x = layers.SkipLayerExcitation(name=f"{stage}_excitation")(low, x)
        stages.append(x)
    # float32 also where the rest is in half precision: latents are what everything else builds on.
    x = _modulated_conv(x, modulations[-1], config.stereo_latent_depth, "output", dtype="float32")
    latents = keras.layers.Activation("tanh", dtype="float32", name="latents")(x)
    return keras.Model([coordinates, style, *conditioning], latents, name=name)


def _conditioning(
    config: Config, n_steps: int
) -> tuple[list[keras.KerasTensor], list[keras.KerasTensor]]:
    """The input `conditioning` and the same in model units; nothing of an unconditional system."""
    signals = config.conditioning.signals
    if not signals:
        return [], []
    # Not in the precision of the networks: see the layer.
    conditioning = keras.Input((n_steps, len(signals)), dtype="float32", name="conditioning")
    in_model_units = layers.ModelUnits(signals, name="conditioning_in_model_units")(conditioning)
    return [conditioning], [in_model_units]


def _modulations(
    along_time: list[keras.KerasTensor], style: keras.KerasTensor, n_rates: int
) -> list[keras.KerasTensor]:
    """What steers SA-AdaIN at each rate, coarsest first.

    The one place where all that the generator is given comes together: what it has along time
    ([B, seq_len, …] each) side by side with the style, repeated. A coarse step is the mean of the
    fine steps that it stands for; of coordinates that is the coordinate at its centre.
    """
    seq_len = along_time[0].shape[1]
    repeated = keras.layers.RepeatVector(seq_len, name="style_along_time")(style)
    finest = keras.layers.Concatenate(name=f"steps{seq_len}_modulation")([*along_time, repeated])
    modulations = [finest]
    for halving in range(1, n_rates):
        pool = keras.layers.AveragePooling1D(2, name=f"steps{seq_len >> halving}_modulation")
        modulations.append(pool(modulations[-1]))
    return modulations[::-1]


def _modulated_conv(x, modulation, width: int, name: str, **options):
    # No bias: the normalisation would take it away again.
    convolution = keras.layers.Conv1D(
        width,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
        **options,
    )
    normalisation = layers.SpatiallyAlignedAdaIN(name=f"{name}_adain", **options)
    return normalisation(convolution(x), modulation)


def _gated_conv(x, modulation, width: int, name: str):
    doubled = _modulated_conv(x, modulation, 2 * width, name)
    return layers.GatedLinearUnit(name=f"{name}_gate")(doubled)


def build_discriminator(config: Config, name: str = "discriminator") -> keras.Model:
    """The discriminator with the light decoder that rebuilds its input (paper §4.2).

    Channels are mixed first, and the conditioning is put beside them. Then the rate is halved stage
    by stage, each time as FastGAN does: the mean of a convolved path and of an average-pooled one.
    No normalisation.

    Returns:
      Model of `latents` [B, 2·seq_len, stereo_latent_depth], two adjacent patches, and, if the
      system is conditional, `conditioning` [B, 2·seq_len, n_signals] in user units, giving
      `logits` float32 [B, T'], positive for real ones, and `reconstruction` of the latents,
      float32 in (-1, 1).
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
    logits = keras.layers.Flatten(dtype="float32", name="logits")(logits)
    reconstruction = _decoder(x, widths, config.stereo_latent_depth)
    inputs = [latents, *conditioning] if conditioning else latents
    return keras.Model(inputs, [logits, reconstruction], name=name)


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
        padding="same",
        kernel_initializer="he_normal",
        name=f"{name}_conv",
        **options,
    )
    return keras.layers.LeakyReLU(_LEAKY_SLOPE, name=f"{name}_leaky")(convolution(x))


def _down_block(x, width: int):
    stage = f"steps{x.shape[1] // 2}"
    main = _leaky_conv(x, width, 4, strides=2, name=f"{stage}_first")
    main = _leaky_conv(main, width, 3, name=f"{stage}_second")
    direct = keras.layers.AveragePooling1D(2, name=f"{stage}_pool")(x)
    direct = _leaky_conv(direct, width, 1, name=f"{stage}_direct")
    return keras.layers.Average(name=f"{stage}_mean")([main, direct])


def _decoder(x, widths: tuple[int, ...], depth: int):
    for width in widths[-2::-1]:
        stage = f"decoder_steps{2 * x.shape[1]}"
        x = keras.layers.UpSampling1D(2, name=f"{stage}_upsample")(x)
        x = _leaky_conv(x, max(1, width // _DECODER_WIDTH_DIVISOR), 3, name=stage)
    x = keras.layers.Conv1D(depth, 3, padding="same", name="decoder_output_conv")(x)
    return keras.layers.Activation("tanh", dtype="float32", name="reconstruction")(x)
