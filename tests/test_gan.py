import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from flags import system
from musika_tf.config import (
    KNOWN_SIGNALS,
    AutoencoderConfig,
    ConditioningConfig,
    Config,
    GanConfig,
    Signal,
)
from musika_tf.networks import coordinates, gan

TINY = Config(
    autoencoder=AutoencoderConfig(level2_latent_depth=3),
    gan=GanConfig(
        anchor_depth=6,
        style_depth=5,
        seq_len=32,
        generator_widths=(12, 10, 8, 8),
        latent_discriminator_widths=(8, 12, 12, 16),
    ),
)

TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")
CONDITIONAL = dataclasses.replace(
    TINY, conditioning=ConditioningConfig((KNOWN_SIGNALS["note_density"], TEMPO))
)


@pytest.fixture(scope="module")
def generator():
    return gan.build_generator(TINY)


@pytest.fixture(scope="module")
def discriminator():
    return gan.build_discriminator(TINY)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _inputs(rng, n):
    anchors = rng.normal(size=(1, n // 2 + 1, 6)).astype(np.float32)
    style = rng.normal(size=(1, 5)).astype(np.float32)
    return coordinates.patches(anchors, 32)[0], tf.repeat(style, n, axis=0)


@pytest.mark.parametrize(
    ("preset", "n_generator", "n_discriminator"),
    [("piano", 13_994_112, 8_058_209), ("techno", 14_077_696, 9_340_545)],
)
def test_parameter_counts(preset, n_generator, n_discriminator, parse_flags):
    config = system.config(flag_values=parse_flags(f"--preset={preset}"))
    assert n_generator == pytest.approx(14e6, rel=0.25)
    assert gan.build_generator(config).count_params() == n_generator
    assert gan.build_discriminator(config).count_params() == n_discriminator


def test_generator_makes_stereo_latents_of_a_patch(generator, rng):
    latents = generator(list(_inputs(rng, 4))).numpy()
    assert latents.shape == (4, 32, 6)
    assert np.abs(latents).max() < 1.0
    assert 0.2 < latents.std() < 0.9
    assert [x.name for x in generator.inputs] == ["coordinates", "style"]


def test_generator_is_a_function_of_its_inputs_alone(generator, rng):
    coords, style = _inputs(rng, 4)
    np.testing.assert_array_equal(
        generator([coords, style], training=True), generator([coords, style], training=False)
    )


def test_a_patch_does_not_depend_on_the_patches_beside_it(generator, rng):
    coords, style = _inputs(rng, 6)
    together = generator([coords, style])
    for patch in range(6):
        alone = generator([coords[patch : patch + 1], style[:1]])
        np.testing.assert_allclose(alone[0], together[patch], atol=1e-5)


def test_every_input_counts(generator, rng):
    coords, style = _inputs(rng, 2)
    before = generator([coords, style])
    assert np.abs(generator([coords + 0.5, style]) - before).max() > 0.01
    assert np.abs(generator([coords, style + 0.5]) - before).max() > 0.01


def test_every_generator_convolution_is_modulated(generator):
    names = {layer.name for layer in generator.layers}
    convolutions = [name for name in names if name.endswith("_conv")]
    assert len(convolutions) == 2 * len(TINY.gan.generator_widths) + 1
    assert all(name.removesuffix("_conv") + "_adain" in names for name in convolutions)


def test_coarse_coordinates_are_those_at_the_centres(generator, rng):
    """The mean of a block of a straight line is the line at the block's centre."""
    model = keras.Model(generator.inputs, generator.get_layer("steps4_modulation").output)
    coords, style = _inputs(rng, 2)
    modulation = model([coords, style]).numpy()
    centres = 0.5 * (coords.numpy()[:, 3::8] + coords.numpy()[:, 4::8])
    np.testing.assert_allclose(modulation[..., :6], centres, atol=1e-6)
    np.testing.assert_allclose(modulation[..., 6:], np.repeat(style[:, None], 4, axis=1), atol=1e-6)


def test_all_generator_weights_get_gradients(generator, rng):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(generator(list(_inputs(rng, 2))) ** 2)
    gradients = tape.gradient(loss, generator.trainable_variables)
    assert all(g is not None and np.abs(g).max() > 0 for g in gradients)


def test_discriminator_rebuilds_its_whole_input(discriminator, rng):
    latents = rng.uniform(-1, 1, (3, 64, 6)).astype(np.float32)
    logits, reconstruction = discriminator(latents)
    assert logits.shape == (3, 8)
    assert reconstruction.shape == latents.shape
    assert np.abs(reconstruction).max() < 1.0


def test_discriminator_sees_each_example_alone(discriminator, rng):
    latents = rng.uniform(-1, 1, (3, 64, 6)).astype(np.float32)
    together, alone = discriminator(latents), discriminator(latents[1:2])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[1:2], b, atol=1e-5)


def test_discriminator_mixes_channels_first(discriminator):
    assert discriminator.layers[1].name == "mixing"
    assert [w.path for w in discriminator.non_trainable_weights] == ["mixing/mix"]


def test_half_precision_networks_speak_single():
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        generator, discriminator = gan.build_generator(TINY), gan.build_discriminator(TINY)
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    outputs = [*generator.outputs, *discriminator.outputs]
    assert {x.dtype for x in outputs} == {"float32"}
    assert {w.dtype for w in generator.weights} == {"float32"}


# Conditional networks


@pytest.fixture(scope="module")
def conditional_generator():
    keras.utils.set_random_seed(0)
    return gan.build_generator(CONDITIONAL)


@pytest.fixture(scope="module")
def conditional_discriminator():
    keras.utils.set_random_seed(0)
    return gan.build_discriminator(CONDITIONAL)


def _conditioning(n, n_steps, density=0.3, tempo_bpm=128.0):
    return np.tile(np.array([density, tempo_bpm], np.float32), (n, n_steps, 1))


def test_unconditional_networks_have_no_further_input(generator, discriminator):
    assert [x.name for x in generator.inputs] == ["coordinates", "style"]
    assert [x.name for x in discriminator.inputs] == ["latents"]


def test_conditional_networks_are_given_the_signals(
    conditional_generator, conditional_discriminator
):
    shapes = {x.name: x.shape for x in conditional_generator.inputs}
    assert list(shapes) == ["coordinates", "style", "conditioning"]
    assert shapes["conditioning"] == (None, 32, 2)
    shapes = {x.name: x.shape for x in conditional_discriminator.inputs}
    assert shapes == {"latents": (None, 64, 6), "conditioning": (None, 64, 2)}


def test_conditional_networks_have_the_same_weights_but_for_what_reads_the_signals(
    generator, discriminator, conditional_generator, conditional_discriminator
):
    def shapes(network):
        return {w.path: w.shape for w in network.weights}

    ours, theirs = shapes(generator), shapes(conditional_generator)
    assert list(ours) == list(theirs)
    wider = {path for path in ours if ours[path] != theirs[path]}
    assert wider == {p for p in ours if p.endswith("adain/kernel")} | {"steps4_first_conv/kernel"}
    ours, theirs = shapes(discriminator), shapes(conditional_discriminator)
    assert list(ours) == list(theirs)
    assert [p for p in ours if ours[p] != theirs[p]] == ["input_conv/kernel"]
    assert theirs["input_conv/kernel"] == (3, 6 + 2, 8)


def test_signals_reach_the_modulations_in_model_units(conditional_generator, rng):
    finest = conditional_generator.get_layer("steps32_modulation").output
    coarsest = conditional_generator.get_layer("steps4_modulation").output
    model = keras.Model(conditional_generator.inputs, [finest, coarsest])
    coords, style = _inputs(rng, 2)
    conditioning = _conditioning(2, 32)
    conditioning[..., 0] = rng.uniform(size=(2, 32))
    fine, coarse = (x.numpy()[..., 6:8] for x in model([coords, style, tf.constant(conditioning)]))
    np.testing.assert_allclose(fine[..., 0], 2 * conditioning[..., 0] - 1, atol=1e-6)
    # 128 BPM lies 18 above 110, of a half range of 30.
    np.testing.assert_allclose(fine[..., 1], 18 / 30 - 1, atol=1e-6)
    np.testing.assert_allclose(coarse, fine.reshape(2, 4, 8, 2).mean(axis=2), atol=1e-6)


@pytest.mark.parametrize("signal", [0, 1])
def test_a_patch_follows_its_own_signals(conditional_generator, rng, signal):
    coords, style = _inputs(rng, 4)
    conditioning = _conditioning(4, 32)
    before = conditional_generator([coords, style, tf.constant(conditioning)]).numpy()
    conditioning[2, :, signal] += (0.5, 30.0)[signal]
    after = conditional_generator([coords, style, tf.constant(conditioning)]).numpy()
    changes = np.abs(after - before).max(axis=(1, 2))
    assert changes[2] > 0.01
    np.testing.assert_allclose(changes[[0, 1, 3]], 0.0, atol=1e-6)


def test_the_discriminator_sees_the_signals(conditional_discriminator, rng):
    latents = tf.constant(rng.uniform(-1, 1, (2, 64, 6)), tf.float32)
    conditioning = _conditioning(2, 64)
    before = conditional_discriminator([latents, tf.constant(conditioning)])
    assert before[1].shape == latents.shape
    conditioning[1, 40:, 0] = 0.9
    after = conditional_discriminator([latents, tf.constant(conditioning)])
    changes = np.abs(after[0] - before[0])
    assert changes[1].max() > 1e-3
    np.testing.assert_allclose(changes[0], 0.0, atol=1e-6)


def test_all_conditional_weights_get_gradients(conditional_generator, rng):
    with tf.GradientTape() as tape:
        latents = conditional_generator([*_inputs(rng, 2), tf.constant(_conditioning(2, 32))])
        loss = tf.reduce_sum(latents**2)
    gradients = tape.gradient(loss, conditional_generator.trainable_variables)
    assert all(g is not None and np.abs(g).max() > 0 for g in gradients)


def test_half_precision_networks_are_conditioned_in_single():
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        generator = gan.build_generator(CONDITIONAL)
    finally:
        keras.mixed_precision.set_dtype_policy(policy)
    units = generator.get_layer("conditioning_in_model_units")
    model = keras.Model(generator.inputs[2], units.output)
    conditioning = _conditioning(1, 32, tempo_bpm=127.8)
    assert float(model(conditioning)[0, 0, 1]) == pytest.approx((127.8 - 140) / 30, abs=1e-6)
