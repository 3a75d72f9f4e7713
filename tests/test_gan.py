"""The generator: windows on a line, patches, signals; how many weights it and its critic have."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_gan import CONDITIONAL, CONDITIONAL_PATCH, PATCH, TINY, steady_conditioning

from flags import system
from musika_tf.config import Config
from musika_tf.networks import coordinates, critics, gan

CONTEXT = 32


@pytest.fixture(scope="module")
def generator():
    return gan.build_generator(TINY)


@pytest.fixture(scope="module")
def patch_generator():
    return gan.build_generator(PATCH)


@pytest.fixture(scope="module")
def conditional_generator():
    keras.utils.set_random_seed(0)
    return gan.build_generator(CONDITIONAL)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _inputs(rng, config, n_steps, n_rows=1):
    """Random ones for a window that begins at step 0 of the line, with its context."""
    n_steps += 2 * config.gan.context_n_steps
    coords = np.cumsum(0.2 * rng.normal(size=(n_rows, n_steps, 6)), axis=1) + 1.0
    style = np.repeat(rng.normal(size=(n_rows, 1, 5)), n_steps, axis=1)
    given = [coords, style]
    if config.conditioning.signals:
        given.append(rng.uniform((0, 110), (1, 170), (n_rows, n_steps, 2)))
    start = np.zeros(n_rows, np.int32)
    return [*(tf.constant(x, tf.float32) for x in given), tf.constant(start)]


@pytest.mark.parametrize(
    ("preset", "normalisation", "n_generator", "n_discriminator"),
    [
        ("piano", "patch", 13_994_112, 8_058_209),
        ("techno", "patch", 14_077_696, 9_340_545),
        ("piano", "step", 14_103_744, 9_107_298),
        ("techno", "step", 14_121_856, 10_389_634),
    ],
)
def test_parameter_counts(preset, normalisation, n_generator, n_discriminator, parse_flags):
    words = [f"--normalisation={normalisation}", f"--dense_logit={normalisation == 'step'}"]
    words = [f"--preset={preset}", *words]
    config = system.config(flag_values=parse_flags(*words))
    assert n_generator == pytest.approx(14e6, rel=0.25)
    assert gan.build_generator(config).count_params() == n_generator
    assert critics.build_discriminator(config).count_params() == n_discriminator


@pytest.mark.parametrize("config", [TINY, PATCH], ids=["step", "patch"])
def test_generator_makes_stereo_latents_of_a_window(config, rng):
    generator = gan.build_generator(config)
    latents = generator(_inputs(rng, config, 32, n_rows=4)).numpy()
    assert latents.shape == (4, 32, 6)
    assert np.abs(latents).max() < 1.0
    assert 0.2 < latents.std() < 0.9
    assert [x.name for x in generator.inputs] == ["coordinates", "style", "start"]


def test_generator_is_a_function_of_its_inputs_alone(generator, rng):
    given = _inputs(rng, TINY, 32)
    np.testing.assert_array_equal(generator(given, training=True), generator(given, training=False))


# Windows on a line


def _window(given, start, n_steps):
    """Inputs of a window of the line that others are of, at an even number of coarsest steps."""
    *along_time, first = given
    cut = [x[:, start : start + n_steps + 2 * CONTEXT] for x in along_time]
    return [*cut, first + start]


@pytest.mark.parametrize(
    "windows",
    [[(0, 32), (32, 32), (64, 32)], [(0, 96)], [(0, 8), (8, 40), (48, 16), (64, 32)]],
    ids=["patches", "whole", "uneven"],
)
def test_windows_side_by_side_are_one_long_one(conditional_generator, rng, windows):
    given = _inputs(rng, CONDITIONAL, 96, n_rows=2)
    whole = conditional_generator(given).numpy()
    made = [conditional_generator(_window(given, *window)) for window in windows]
    np.testing.assert_allclose(np.concatenate(made, axis=1), whole, rtol=0, atol=1e-5)


def test_a_window_that_forgets_where_it_is_is_another(conditional_generator, rng):
    given = _inputs(rng, CONDITIONAL, 64)
    *along_time, start = given
    elsewhere = conditional_generator([*along_time, start + 8])
    assert np.abs(elsewhere - conditional_generator(given)).max() > 0.01
    # The position repeats with the anchors, every 64 steps.
    same = conditional_generator([*along_time, start + 64])
    np.testing.assert_array_equal(same, conditional_generator(given))


@pytest.mark.parametrize("index", [0, 1, 2], ids=["coordinates", "style", "conditioning"])
@pytest.mark.parametrize("step", [40, 47, 64])
def test_a_change_is_local(conditional_generator, rng, index, step):
    """From a step on: more than the context before its coarsest step nothing changes at all."""
    given = _inputs(rng, CONDITIONAL, 96)
    before = conditional_generator(given).numpy()
    changed = given[index].numpy()
    changed[:, CONTEXT + step :] += (0.5, 0.5, 0.2)[index]
    given[index] = tf.constant(changed)
    changes = np.abs(conditional_generator(given).numpy() - before).max(axis=(0, 2))
    np.testing.assert_array_equal(changes[: step // 8 * 8 - CONTEXT], 0.0)
    assert changes[step:].min() > 1e-3


def test_a_change_that_ends_is_forgotten(generator, rng):
    given = _inputs(rng, TINY, 96)
    before = generator(given).numpy()
    changed = given[0].numpy()
    changed[:, CONTEXT + 10 : CONTEXT + 20] += 0.5
    after = generator([tf.constant(changed), *given[1:]]).numpy()
    changes = np.abs(after - before).max(axis=(0, 2))
    assert changes[10:20].min() > 1e-3
    # The coarsest step that the change ends in ends at 24.
    np.testing.assert_array_equal(changes[24 + CONTEXT :], 0.0)


def test_the_context_is_what_the_generator_reaches(generator, rng):
    """Of the first and of the last step, to the coarsest step at either end and no less."""
    coords, *others = _inputs(rng, TINY, 8)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(coords)
        latents = generator([coords, *others])
        first, last = tf.reduce_sum(latents[:, 0]), tf.reduce_sum(latents[:, -1])
    reached = [np.abs(tape.gradient(x, coords)[0]).max(axis=1) > 0 for x in (first, last)]
    assert coords.shape[1] == 8 + 2 * TINY.gan.context_n_steps == 72
    assert reached[0][0] and reached[1][-1]
    # To the other side the first step of a coarsest one sees less far.
    assert not reached[0][-8:].any() and not reached[1][:8].any()


def test_untrained_latents_have_the_spread_that_is_set(rng):
    keras.utils.set_random_seed(0)
    config = Config()
    generator = gan.build_generator(config)
    scale, shift = rng.uniform(0.2, 0.8, 64), rng.uniform(-0.5, 0.5, 64)
    correlation = rng.uniform(-0.2, 1.0, 32)
    gan.set_output_spread(generator, scale, shift, correlation)
    sizes, n = config.gan, 32
    anchors = tf.constant(rng.normal(size=(n, 5, 64)), tf.float32)
    style = tf.constant(np.repeat(rng.normal(size=(n, 1, 64)), 256, axis=1), tf.float32)
    start = tf.zeros([n], tf.int32)
    lines = coordinates.training_windows(sizes, anchors, start)
    before_tanh = np.arctanh(generator([lines, style, start]).numpy())
    ratios = before_tanh.std(axis=(0, 1)) / scale
    assert ratios.mean() == pytest.approx(1.0, abs=0.15)
    assert 0.65 < ratios.min() and ratios.max() < 1.45
    np.testing.assert_allclose(before_tanh.mean(axis=(0, 1)), shift, atol=0.3)
    left, right = np.split(before_tanh.reshape(-1, 64), 2, axis=1)
    found = [np.corrcoef(x, y)[0, 1] for x, y in zip(left.T, right.T, strict=True)]
    # What two random kernels make of the same features is alike by chance, too.
    np.testing.assert_allclose(found, correlation, atol=0.35)
    assert np.mean(found - correlation) == pytest.approx(0.0, abs=0.06)


# Patches, each on its own


def test_a_patch_does_not_depend_on_the_patches_beside_it(patch_generator, rng):
    coords, style, start = _inputs(rng, PATCH, 6 * 32)
    together = gan.latents(PATCH, patch_generator, coords, style, None, start)
    assert together.shape == (1, 6 * 32, 6)
    for patch in range(6):
        own = slice(32 * patch, 32 * (patch + 1))
        alone = patch_generator([coords[:, own], style[:, own], start])
        np.testing.assert_allclose(alone, together[:, own], atol=1e-5)


def test_of_a_patch_the_last_style_counts_and_no_start(patch_generator, rng):
    coords, style, start = _inputs(rng, PATCH, 32)
    before = patch_generator([coords, style, start])
    np.testing.assert_array_equal(patch_generator([coords, style, start + 7]), before)
    is_last = np.arange(32)[:, None] == 31
    others = tf.where(is_last, style, style + 0.5)
    np.testing.assert_array_equal(patch_generator([coords, others, start]), before)
    last = tf.where(is_last, style + 0.5, style)
    assert np.abs(patch_generator([coords, last, start]) - before).max() > 0.01


# Both


@pytest.mark.parametrize("config", [TINY, PATCH], ids=["step", "patch"])
def test_coarse_coordinates_are_those_at_the_centres(config, rng):
    """The mean of a block of a straight line is the line at the block's centre."""
    generator = gan.build_generator(config)
    model = keras.Model(generator.inputs, generator.get_layer("steps4_modulation").output)
    _, style, start = _inputs(rng, config, 32)
    line = np.arange(style.shape[1], dtype=np.float32)[:, None] * np.ones(6, np.float32)
    modulation = model([tf.constant(line[None]), style, start]).numpy()
    assert modulation.shape[1] == style.shape[1] // 8
    np.testing.assert_allclose(modulation[0, :, :6], 0.5 * (line[3::8] + line[4::8]), atol=1e-5)
    np.testing.assert_allclose(modulation[0, :, 6:11], style[0, ::8], atol=1e-6)


@pytest.mark.parametrize("config", [CONDITIONAL, CONDITIONAL_PATCH], ids=["step", "patch"])
def test_all_generator_weights_get_gradients(config, rng):
    generator = gan.build_generator(config)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(generator(_inputs(rng, config, 32)) ** 2)
    gradients = tape.gradient(loss, generator.trainable_variables)
    assert all(g is not None and np.abs(g).max() > 0 for g in gradients)


@pytest.fixture
def half_precision():
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_dtype_policy(policy)


def test_half_precision_networks_speak_single(half_precision):
    generator = gan.build_generator(TINY)
    outputs = [*generator.outputs, *critics.build_discriminator(TINY).outputs]
    assert {x.dtype for x in outputs} == {"float32"}
    assert {w.dtype for w in generator.weights} == {"float32"}


# Conditional networks


def test_conditional_networks_are_given_the_signals(conditional_generator):
    discriminator = critics.build_discriminator(TINY)
    conditional_discriminator = critics.build_discriminator(CONDITIONAL)
    shapes = {x.name: x.shape for x in conditional_generator.inputs}
    assert list(shapes) == ["coordinates", "style", "conditioning", "start"]
    assert shapes["conditioning"] == (None, None, 2)
    shapes = {x.name: x.shape for x in conditional_discriminator.inputs}
    assert shapes == {"latents": (None, 64, 6), "conditioning": (None, 64, 2)}
    assert [x.name for x in discriminator.inputs] == ["latents"]


def test_conditional_networks_have_the_same_weights_but_for_what_reads_the_signals(
    generator, conditional_generator
):
    discriminator = critics.build_discriminator(TINY)
    conditional_discriminator = critics.build_discriminator(CONDITIONAL)

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
    coords, style, _, start = _inputs(rng, CONDITIONAL, 32, n_rows=2)
    conditioning = steady_conditioning(2, 96)
    conditioning[..., 0] = rng.uniform(size=(2, 96))
    given = [coords, style, tf.constant(conditioning), start]
    fine, coarse = (x.numpy()[..., 6:8] for x in model(given))
    np.testing.assert_allclose(fine[..., 0], 2 * conditioning[..., 0] - 1, atol=1e-6)
    # 128 BPM lies 18 above 110, of a half range of 30.
    np.testing.assert_allclose(fine[..., 1], 18 / 30 - 1, atol=1e-6)
    np.testing.assert_allclose(coarse, fine.reshape(2, 12, 8, 2).mean(axis=2), atol=1e-6)


@pytest.mark.parametrize("signal", [0, 1])
def test_a_patch_follows_its_own_signals(rng, signal):
    generator = gan.build_generator(CONDITIONAL_PATCH)
    coords, style, _, start = _inputs(rng, CONDITIONAL_PATCH, 32, n_rows=4)
    conditioning = steady_conditioning(4, 32)
    before = generator([coords, style, tf.constant(conditioning), start]).numpy()
    conditioning[2, :, signal] += (0.5, 30.0)[signal]
    after = generator([coords, style, tf.constant(conditioning), start]).numpy()
    changes = np.abs(after - before).max(axis=(1, 2))
    assert changes[2] > 0.01
    np.testing.assert_allclose(changes[[0, 1, 3]], 0.0, atol=1e-6)


def test_half_precision_networks_are_conditioned_in_single(half_precision):
    generator = gan.build_generator(CONDITIONAL)
    units = generator.get_layer("conditioning_in_model_units")
    model = keras.Model(generator.inputs[2], units.output)
    conditioning = steady_conditioning(1, 32, tempo_bpm=127.8)
    assert float(model(conditioning)[0, 0, 1]) == pytest.approx((127.8 - 140) / 30, abs=1e-6)
