"""The trainer of a conditional GAN: signals reach all that learns, and what is told of them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from gan_training import (
    CONFIG,
    METRICS,
    PATCH_GAN,
    TRAINING,
    draw,
    player_of,
    r1_by_differences,
    random_latents,
    weights_of,
)
from tiny_gan import CONDITIONING

from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.networks import critics, gan
from musika_tf.training import gan_draws
from musika_tf.training.gan_trainer import GanTrainer

CONDITIONAL = dataclasses.replace(CONFIG, conditioning=CONDITIONING)
CONTEXT = 32


def _conditioning(n, seed=0):
    """Of windows and their context, in which their ends are held."""
    values = np.random.default_rng(seed).uniform((0, 110), (1, 170), (n, 32, 2))
    values[..., 1] = values[:, :1, 1]
    return np.pad(values, [(0, 0), (CONTEXT, CONTEXT), (0, 0)], mode="edge").astype(np.float32)


def _of_windows(conditioning):
    return conditioning[:, CONTEXT:-CONTEXT]


def _conditional_trainer(held_out_conditioning, **arguments):
    return GanTrainer(
        config=CONDITIONAL,
        training=TRAINING,
        held_out=random_latents(8, seed=1),
        held_out_conditioning=held_out_conditioning,
        **arguments,
    )


@pytest.fixture(scope="module")
def conditional():
    """For tests that change nothing."""
    keras.utils.set_random_seed(0)
    return _conditional_trainer(_conditioning(8, seed=1))


def test_conditional_step_changes_all_networks():
    trainer = _conditional_trainer(_conditioning(8, seed=1))
    before = weights_of(trainer)
    batch = tf.constant(random_latents(4)), tf.constant(_conditioning(4))
    metrics = {k: float(v) for k, v in trainer.step(*batch).items()}
    assert set(metrics) == METRICS | {"estimator/real_error", "estimator/fake_error"}
    assert np.isfinite(list(metrics.values())).all()
    for name, network in trainer.networks.items():
        pairs = zip(before[name], network.get_weights(), strict=True)
        changed = sum(not np.array_equal(a, b) for a, b in pairs)
        # The estimator's last layer starts at zero: in the first step nothing below it learns.
        assert changed == (2 if name == "estimator" else len(network.trainable_weights)), name


@pytest.mark.parametrize(("number", "is_moved"), [(4, True), (5, False)])
def test_every_second_splice_takes_its_conditioning_along(conditional, number, is_moved):
    latents = tf.constant(random_latents(4))
    beside, number = tf.constant(_of_windows(_conditioning(4))), tf.constant(number, tf.int64)
    made, given = conditional._spliced(latents, beside, number)
    moved_latents, moved = (gan_draws.spliced(x, TRAINING.seed, number) for x in (latents, beside))
    np.testing.assert_array_equal(made, moved_latents)
    np.testing.assert_array_equal(given, moved if is_moved else beside)
    assert np.any(moved != beside)


def test_fakes_are_conditioned_with_their_context(conditional):
    """And what judges them is given the conditioning of the window alone."""
    number, conditioning = tf.constant(3, tf.int64), tf.constant(_conditioning(4))
    line, style, start = draw(3, 4)
    made = conditional._generate(conditional.generator, number, 4, conditioning)
    expected = conditional.generator([line, style, conditioning, start])
    np.testing.assert_array_equal(made, expected)
    within = gan.without_context(conditional.config, conditioning)
    np.testing.assert_array_equal(within, _of_windows(conditioning))


def test_generated_pairs_are_the_patches_side_by_side():
    config = dataclasses.replace(CONDITIONAL, gan=PATCH_GAN)
    trainer = GanTrainer(config=config, training=TRAINING, held_out=None)

    def show(inputs):
        """What a generator is given, in place of one, which would magnify rounding."""
        line, style, conditioning, _ = inputs
        assert line.shape == (8, 16, 4)
        return tf.concat([line[..., :1], style[..., :1], conditioning], axis=-1)

    conditioning = tf.constant(_of_windows(_conditioning(4)))
    joined = trainer._generate(show, tf.constant(3, tf.int64), 4, conditioning)
    line, style, _ = draw(3, 4, PATCH_GAN)
    np.testing.assert_array_equal(
        joined, np.concatenate([line[..., :1], style[..., :1], conditioning], -1)
    )


def test_conditioning_reaches_both_losses(conditional):
    latents = tf.constant(random_latents(4))
    one, same, other = (
        {k: float(v) for k, v in conditional.gradients(latents, tf.constant(given))[1].items()}
        for given in (_conditioning(4), _conditioning(4), _conditioning(4, seed=9))
    )
    assert one == same
    for name in ("discriminator/real_logit", "generator/adversarial", "latents/spread_ratio"):
        assert abs(one[name] - other[name]) > 1e-4, name


def _labelled_latents(n, seed=0):
    """Latents of which one channel is the density, another the tempo, in model units."""
    latents, conditioning = random_latents(n, seed), _conditioning(n, seed)
    latents[..., 0] = 2.0 * _of_windows(conditioning)[..., 0] - 1.0
    latents[..., 1] = (_of_windows(conditioning)[..., 1] - 140.0) / 30.0
    # The same left and right: both are learnt from.
    latents[..., 2:] = latents[..., :2]
    return latents, conditioning


@pytest.mark.slow
def test_estimator_learns_from_real_latents_and_teaches_the_generator():
    trainer = _conditional_trainer(_conditioning(8, seed=1))
    step = tf.function(trainer.step, autograph=False)
    first, *_, last = [
        {k: float(v) for k, v in step(*_labelled_latents(4, seed)).items()} for seed in range(300)
    ]
    # By formula: an estimate of zero is off by the mean distance from the middle of the range.
    assert first["estimator/real_error"] == pytest.approx(0.5, abs=0.12)
    assert last["estimator/real_error"] < 0.5 * first["estimator/real_error"]
    assert last["estimator/fake_error"] < 0.7 * first["estimator/fake_error"]


@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_weight_of_the_conditioning(weight):
    training = dataclasses.replace(TRAINING, conditioning_weight=weight)
    trainer = GanTrainer(config=CONDITIONAL, training=training, held_out=None)
    rng = np.random.default_rng(0)
    for variable in trainer.estimator.get_layer("conditioning").trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    latents, conditioning = map(tf.constant, _labelled_latents(4))
    gradients, _ = trainer.gradients(latents, conditioning)
    with tf.GradientTape(persistent=True) as tape:
        number = tf.constant(0, tf.int64)
        fake = trainer._generate(trainer.generator, number, 4, conditioning)
        beside = _of_windows(conditioning)
        exchanged = gan_draws.exchanged(latents, TRAINING.seed, number)
        seen, fake_seen = (
            critics.standardised(CONDITIONAL, trainer.generator, x) for x in (exchanged, fake)
        )
        local, dense, _ = trainer.discriminator([fake_seen, beside])
        adversarial = -0.5 * (tf.reduce_mean(local) + tf.reduce_mean(dense))
        scaled = (beside - [0.0, 110.0]) / [0.5, 30.0] - 1.0
        errors = tf.reduce_mean(tf.abs(trainer.estimator(fake_seen) - scaled))
        total = adversarial + weight * errors
        real_errors = tf.reduce_mean(tf.abs(trainer.estimator(seen) - scaled))
    for name, loss in (("generator", total), ("estimator", real_errors)):
        expected = tape.gradient(loss, trainer.trained[name])
        for a, b in zip(gradients[name], expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=name)


def test_r1_is_of_the_latents_alone(conditional):
    """The conditioning stays the same."""
    latents, conditioning = random_latents(2), tf.constant(_of_windows(_conditioning(2)))
    r1, _ = conditional._r1(tf.constant(latents), conditioning)
    expected = r1_by_differences(conditional.discriminator, latents, conditioning)
    assert float(r1) == pytest.approx(TRAINING.r1_period * expected, rel=1e-3)


def test_validation_tells_whether_the_conditioning_counts(conditional):
    metrics = conditional.validate()
    assert metrics == conditional.validate()
    assert metrics["held_out/conditioning_ratio"] > 0.01
    assert abs(metrics["held_out/mismatched_logit"] - metrics["held_out/real_logit"]) > 1e-4
    # All given the same: what belongs to others belongs to all.
    alike = _conditional_trainer(np.repeat(_conditioning(1), 8, axis=0)).validate()
    assert alike["held_out/conditioning_ratio"] == pytest.approx(0.0, abs=1e-6)
    assert alike["held_out/mismatched_logit"] == pytest.approx(alike["held_out/real_logit"])
    assert set(metrics) == {*alike}
    # The untrained estimator says zero, the middle of every range.
    given = _of_windows(_conditioning(8, seed=1))
    expected = np.abs((given - [0.5, 140.0]) / [0.5, 30.0]).mean(axis=(0, 1))
    for name, error in zip(CONDITIONAL.conditioning.names, expected, strict=True):
        for kind in ("real", "fake"):
            assert metrics[f"held_out/{kind}_{name}_error"] == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("piece", [0, 1])
def test_conditional_samples_have_the_conditioning_that_is_held_out(conditional, piece):
    conditioning = _of_windows(_conditioning(8, seed=1))[4 * piece]
    times = centres_seconds(CONDITIONAL, 0, 32)
    controls = [
        controls_lib.Curve(tuple(times), tuple(conditioning[:, 0].tolist())),
        controls_lib.Constant(float(conditioning[0, 1])),
    ]
    seen = []
    player = player_of(conditional, seen)
    list(player.stream((0, piece), 2.0, controls, n_samples=32))
    expected = tf.concat(seen, axis=1)[:, :32]
    np.testing.assert_allclose(conditional._piece_latents(piece), expected, rtol=0, atol=1e-5)


def test_conditional_samples_need_something_to_tell():
    trainer = GanTrainer(
        config=CONDITIONAL, training=TRAINING, held_out=None, decode=lambda latents: latents
    )
    assert trainer.validate() == {}
    assert trainer.sample().waveforms == {}


@pytest.mark.parametrize(
    "found", [None, _conditioning(7), _conditioning(8)[:, :16], _conditioning(8)[..., :1]]
)
def test_wrong_held_out_conditioning_is_named(found):
    with pytest.raises(ValueError, match=r"held_out_conditioning has .*must be \[8, 96, 2\]"):
        _conditional_trainer(found)
