import dataclasses
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from musika_tf import generation
from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import (
    KNOWN_SIGNALS,
    AutoencoderConfig,
    ConditioningConfig,
    Config,
    GanConfig,
    Signal,
)
from musika_tf.networks import critics, gan, layers
from musika_tf.player import Player
from musika_tf.runs import checkpoint
from musika_tf.training import gan_draws, losses
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training.r1_control import R1Control
from musika_tf.training_config import TrainingConfig

CONFIG = Config(
    autoencoder=AutoencoderConfig(level2_latent_depth=2),
    gan=GanConfig(
        anchor_depth=4,
        style_depth=4,
        seq_len=16,
        generator_widths=(8, 8, 8, 8),
        latent_discriminator_widths=(8, 8),
    ),
)
# As in the paper.
PATCH_GAN = dataclasses.replace(CONFIG.gan, normalisation="patch", dense_logit=False)
CONTEXT = 32
TRAINING = TrainingConfig(batch_size=4, learning_rate=1e-3, seed=5)
METRICS = {
    "discriminator/hinge",
    "discriminator/reconstruction",
    "discriminator/r1",
    "discriminator/r1_gamma",
    "discriminator/real_logit",
    "discriminator/fake_logit",
    "generator/adversarial",
    "latents/spread_ratio",
    "skipped",
}


def _latents(n, seed=0):
    rng = np.random.default_rng(seed)
    left = rng.uniform(0, 2 * np.pi, (n, 1, 2)) + np.arange(32)[:, None] * 0.4
    # Left and right differ little, as in music.
    phase = np.concatenate([left, left + rng.normal(0, 0.1, (n, 1, 2))], axis=-1)
    return np.tanh(np.sin(phase)).astype(np.float32)


def _trainer(**training):
    return GanTrainer(
        config=CONFIG,
        training=dataclasses.replace(TRAINING, **training),
        held_out=_latents(8, seed=1),
    )


def _weights(trainer):
    return {name: network.get_weights() for name, network in trainer.networks.items()}


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def untrained():
    """For tests that change nothing."""
    keras.utils.set_random_seed(0)
    return _trainer()


@pytest.fixture(scope="module")
def trained():
    """A trainer after three steps: weights before and after, metrics, the step."""
    keras.utils.set_random_seed(0)
    trainer = _trainer()
    before = _weights(trainer)
    # XLA compiles it in test_lowering.py.
    step = tf.function(trainer.step, autograph=False)
    metrics = [{k: float(v) for k, v in step(_latents(4)).items()} for _ in range(3)]
    assert int(trainer.state["step"]) == 3
    return trainer, before, _weights(trainer), metrics, step


def test_the_trained_system_has_skip_layer_excitation(untrained):
    kinds = [type(layer) for layer in untrained.generator.layers]
    assert kinds.count(layers.SkipLayerExcitationAlongTime) == 1


def test_average_starts_as_the_generator(untrained):
    weights = _weights(untrained)
    assert _same(weights["generator"], weights["generator_average"])


def test_step_reports_finite_metrics(trained):
    metrics = trained[3]
    assert set(metrics[0]) == METRICS
    assert all(np.isfinite(list(m.values())).all() for m in metrics)
    assert metrics[0] != metrics[1]


def test_step_changes_all_networks_but_not_what_is_fixed(trained):
    trainer, before, after, *_ = trained
    output = ["output_scale/scale", "output_scale/shift"]
    fixed = {"discriminator": ["mixing/mix"], "generator": output, "generator_average": output}
    for name in trainer.networks:
        trainable = trainer.networks[name].trainable_weights
        assert [w.path for w in trainer.networks[name].non_trainable_weights] == fixed[name]
        changed = [not np.array_equal(a, b) for a, b in zip(before[name], after[name], strict=True)]
        assert sum(changed) == len(trainable), name


@pytest.mark.parametrize(
    ("configured_decay", "step", "decay"),
    [(TrainingConfig().average_decay, 0, 0.1), (0.75, 1000, 0.75)],
    ids=["a short memory at first", "the configured one later"],
)
def test_average_follows_the_generator(configured_decay, step, decay):
    trainer = _trainer(average_decay=configured_decay)
    trainer.state["step"].assign(step)
    before = trainer.generator.get_weights()
    trainer.step(tf.constant(_latents(4)))
    rows = zip(
        before,
        trainer.generator.get_weights(),
        trainer.generator_average.get_weights(),
        strict=True,
    )
    for old, new, average in rows:
        np.testing.assert_allclose(average, decay * old + (1 - decay) * new, atol=1e-6)


def test_same_seed_same_metrics_other_seed_others():
    latents = tf.constant(_latents(4))
    runs = []
    for seed, n_steps in ((5, 2), (5, 2), (6, 1)):
        step = _trainer(seed=seed).step
        runs.append([{k: float(v) for k, v in step(latents).items()} for _ in range(n_steps)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]


def _draw(number, n, sizes=CONFIG.gan):
    return gan_draws.windows(sizes, 5, tf.constant(number, tf.int64), n, is_shared=False)


def test_draws_follow_from_seed_and_step():
    for first, again, other in zip(_draw(0, 4), _draw(0, 4), _draw(1, 4), strict=True):
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize(("sizes", "n_starts"), [(CONFIG.gan, 2), (PATCH_GAN, 32)])
def test_drawn_windows_are_pieces_of_a_line_in_one_style(sizes, n_starts):
    line, style, start = (x.numpy() for x in _draw(0, 256, sizes))
    n_steps = 32 + 2 * sizes.context_n_steps
    assert line.shape == style.shape == (256, n_steps, 4)
    assert (style == style[:, :1]).all()
    assert len(set(start)) == n_starts and start.max() < 32
    # Straight lines, with corners at the anchors alone: every 32 steps.
    corners = np.abs(np.diff(line, n=2, axis=1)).max(axis=-1) > 1e-4
    steps = start[:, None] - sizes.context_n_steps + np.arange(1, n_steps - 1)
    np.testing.assert_array_equal(corners, steps % 32 == 0)


def test_half_of_the_examples_have_left_and_right_exchanged():
    latents = np.random.default_rng(0).normal(size=(512, 3, 4)).astype(np.float32)
    made = gan_draws.exchanged(tf.constant(latents), 5, tf.constant(0, tf.int64)).numpy()
    other = np.roll(latents, 2, axis=-1)
    kept, exchanged = ((made == x).all(axis=(1, 2)) for x in (latents, other))
    assert (kept ^ exchanged).all()
    assert 0.4 < exchanged.mean() < 0.6
    # What was exchanged before is given back: which side is which makes no difference.
    again = gan_draws.exchanged(tf.constant(other), 5, tf.constant(0, tf.int64))
    np.testing.assert_array_equal(again, np.roll(made, 2, axis=-1))
    at_the_next_step = gan_draws.exchanged(tf.constant(latents), 5, tf.constant(1, tf.int64))
    assert np.abs(at_the_next_step - made).max() > 0.1


def test_the_discriminator_sees_real_latents_exchanged(untrained):
    latents = tf.constant(_latents(4))
    metrics = untrained.gradients(latents)[1]
    seen = gan_draws.exchanged(latents, 5, tf.constant(0, tf.int64))
    assert np.abs(seen - latents).max() > 0.1
    standardised = critics.standardised(CONFIG, untrained.generator, seen)
    logit = np.mean(losses.mean_logit(untrained.discriminator(standardised)[:2]))
    assert float(metrics["discriminator/real_logit"]) == pytest.approx(logit, abs=1e-5)


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
    line, style, _ = _draw(3, 4, PATCH_GAN)
    np.testing.assert_array_equal(
        joined, np.concatenate([line[..., :1], style[..., :1], conditioning], -1)
    )


# R1


def _r1_by_differences(discriminator, latents, *conditioning):
    """Half the mean squared slope of the mean logit, by finite differences."""
    delta = 1e-3
    nudges = delta * np.eye(32 * 4, dtype=np.float32).reshape(-1, 1, 32, 4)

    def critic(x):
        given = [tf.reshape(x, [-1, 32, 4]), *(tf.tile(c, [len(x), 1, 1]) for c in conditioning)]
        local, dense, _ = discriminator(given if conditioning else given[0])
        parts = [np.mean(logits, axis=1, dtype=np.float64) for logits in (local, dense)]
        return (0.5 * (parts[0] + parts[1])).reshape(x.shape[:2])

    slopes = (critic(latents + nudges) - critic(latents - nudges)) / (2 * delta)
    return 0.5 * np.mean(np.sum(slopes**2, axis=0))


def test_r1_is_half_the_squared_gradient_of_the_mean_logit(untrained):
    latents = _latents(2)
    r1, _ = untrained._r1(tf.constant(latents), None)
    expected = _r1_by_differences(untrained.discriminator, latents)
    assert float(r1) == pytest.approx(TRAINING.r1_period * expected, rel=1e-3)


def test_r1_moves_the_discriminator_by_gamma_in_every_fourth_step():
    """R1 is a square of the last layers' kernels: its slope along them is twice itself (Euler)."""
    trainer = _trainer(r1_gamma=3.0)
    r1, gradients = trainer._r1(tf.constant(_latents(2)), None)
    heads = ("logits_conv/kernel", "dense_logit_conv/kernel")
    pairs = zip(trainer.discriminator.trainable_variables, gradients, strict=True)
    slope = sum(np.sum(v.numpy() * g.numpy()) for v, g in pairs if v.path in heads)
    assert slope == pytest.approx(2 * 3.0 * float(r1), rel=1e-4)
    steps = {}
    for step in range(9):
        trainer.state["step"].assign(step)
        r1, gradients = trainer._r1(tf.constant(_latents(2)), None)
        steps[step] = float(r1) > 0, any(np.any(g) for g in gradients)
    assert steps == {step: (step % 4 == 0, step % 4 == 0) for step in range(9)}


def test_each_kind_of_logits_counts_half():
    real = [tf.constant([[0.5, 2.0]]), tf.constant([[-1.0]])]
    fake = [tf.constant([[0.5, -2.0]]), tf.constant([[0.0]])]
    # max(0, 1 - D) of real ones: 0.5, 0; 2. max(0, 1 + D) of fakes: 1.5, 0; 1.
    assert float(losses.hinge_of_parts(real, fake)) == pytest.approx((0.25 + 0.75 + 2 + 1) / 2)
    np.testing.assert_allclose(losses.mean_logit(real), [(1.25 - 1.0) / 2])


def _control_after(hinges):
    control = R1Control(dataclasses.replace(TRAINING, r1_gamma=100.0, r1_gamma_least_share=0.5))
    gammas = []
    for hinge in hinges:
        control.after_step(tf.constant(hinge), tf.constant(True))
        gammas.append(float(control.gamma))
    return control, gammas


def test_gamma_falls_while_the_discriminator_is_unsure_and_rises_again():
    _, gammas = _control_after([2.0] * 1000 + [1.0] * 1000)
    # 2·(1 - 0.99^n) is above 1.8 from the 230th step on; 0.999^n is a half after 693.
    assert gammas[:229] == [100.0] * 229
    np.testing.assert_allclose(gammas[229:900], 100.0 * 0.999 ** np.arange(1, 672), rtol=1e-4)
    assert gammas[950:1000] == [50.0] * 50
    # 1 + 0.99^n is below 1.8 after 23 steps.
    risen = 50.0 / 0.999 ** np.arange(1, 600)
    np.testing.assert_allclose(gammas[1022:1621], risen, rtol=1e-4)
    assert gammas[-100:] == [100.0] * 100


def test_a_skipped_step_leaves_gamma_as_it_is():
    control, _ = _control_after([2.0] * 240)
    before = {name: float(value) for name, value in control.state.items()}
    control.after_step(tf.constant(float("nan")), tf.constant(False))
    assert {name: float(value) for name, value in control.state.items()} == before


def test_gamma_goes_on_from_a_checkpoint(tmp_path):
    """Exactly; from one of an earlier release, which has none, as it begins."""
    trainer, other = _trainer(), _trainer()
    trainer.state["r1_gamma"].assign(123.456)
    trainer.state["hinge_average"].assign(1.2345)
    variables = trainer.named_variables()
    path = checkpoint.save(tmp_path, variables, 1)
    checkpoint.restore(path, other.named_variables())
    for name in ("r1_gamma", "hinge_average"):
        assert float(other.state[name]) == float(trainer.state[name])
    added = ("state/r1_gamma", "state/hinge_average")
    earlier = {name: variable for name, variable in variables.items() if name not in added}
    fresh = _trainer()
    checkpoint.restore(checkpoint.save(tmp_path, earlier, 2), fresh.named_variables())
    assert float(fresh.state["r1_gamma"]) == TRAINING.r1_gamma
    with pytest.raises(ValueError, match="missing state/step"):
        del earlier["state/step"]
        checkpoint.restore(checkpoint.save(tmp_path, earlier, 3), fresh.named_variables())


def test_r1_penalty_of_given_gradients():
    gradients = tf.constant([[[1.0, 2.0]], [[0.0, 4.0]]])
    assert float(losses.r1_penalty(gradients)) == pytest.approx(0.5 * (5.0 + 16.0) / 2)


def test_training_learns_to_rebuild_real_latents(trained):
    *_, metrics, step = trained
    for _ in range(300):
        latest = step(_latents(4))
    first = metrics[0]["discriminator/reconstruction"]
    assert float(latest["discriminator/reconstruction"]) < 0.7 * first
    assert 0.3 < float(latest["latents/spread_ratio"]) < 3.0


def test_validation_compares_the_averaged_generator_with_held_out_latents():
    trainer = _trainer()
    metrics = trainer.validate()
    assert metrics == trainer.validate()
    assert np.isfinite(list(metrics.values())).all()
    assert metrics["held_out/spread_ratio_min"] <= metrics["held_out/spread_ratio_max"]
    trainer.generator_average.set_weights([0 * w for w in trainer.generator_average.get_weights()])
    silent = trainer.validate()
    assert silent["held_out/spread_ratio_max"] == 0.0
    # Of silence: the mean and the variances of the held-out latents.
    real = _latents(8, seed=1).reshape(-1, 4)
    expected = np.square(real.mean(axis=0)).sum() + real.var(axis=0, ddof=1).sum()
    assert silent["held_out/frechet"] == pytest.approx(expected, rel=1e-5)


def test_samples_are_the_same_pieces_every_time():
    seen = []

    def decode(latents):
        seen.append(latents.numpy())
        return tf.repeat(latents[..., :2], 10, axis=1)

    trainer = GanTrainer(config=CONFIG, training=TRAINING, held_out=None, decode=decode)
    first, second = trainer.sample(), trainer.sample()
    assert list(first.waveforms) == ["piece0", "piece1"]
    assert first.sample_rate_hz == CONFIG.audio.sample_rate_hz
    assert first.waveforms["piece0"].shape == (320, 2)
    assert seen[0].shape == (1, 32, 4)
    np.testing.assert_array_equal(first.waveforms["piece0"], second.waveforms["piece0"])
    assert np.abs(seen[0] - seen[1]).max() > 0.1


def _player(trainer, seen):
    """The networks of a trainer in place of an exported model; latents go to `seen`."""

    def latents(coordinates, style, start, conditioning=None):
        given = coordinates, style, conditioning, start
        return {"latents": gan.latents(trainer.config, trainer.generator_average, *given)}

    def decode(latents, overlap):
        seen.append(latents)
        return {"waveform": latents[..., :2], "overlap": overlap}

    return Player(pathlib.Path("trainer"), trainer.config, {}, latents, decode)


@pytest.mark.parametrize("piece", [0, 1])
def test_samples_are_the_beginning_of_generated_ones(untrained, piece):
    seen, request = [], generation.Request(n_samples=2)
    player = _player(untrained, seen)
    # Two patches: a sample a latent.
    list(player.stream((request.seed, piece), request.truncation, n_samples=32))
    expected = tf.concat(seen, axis=1)[:, :32]
    np.testing.assert_allclose(untrained._piece_latents(piece), expected, rtol=0, atol=1e-5)


def test_without_held_out_latents_and_decoder_there_is_nothing_to_tell():
    trainer = GanTrainer(config=CONFIG, training=TRAINING, held_out=None)
    assert trainer.validate() == {}
    assert trainer.sample().waveforms == {}


def test_wrong_held_out_shape_is_named():
    with pytest.raises(ValueError, match=r"\[3, 16, 4\].*\[n, 32, 4\]"):
        GanTrainer(config=CONFIG, training=TRAINING, held_out=np.zeros((3, 16, 4), np.float32))


def test_all_variables_have_names_of_their_own(untrained):
    named = untrained.named_variables()
    n_weights = sum(len(network.weights) for network in untrained.networks.values())
    assert sum(name.startswith("networks/") for name in named) == n_weights
    assert "networks/generator/steps16_first_adain/kernel" in named
    assert "networks/discriminator/mixing/mix" in named
    assert "state/step" in named


GOOD = {
    "discriminator/hinge": 1.0,
    "discriminator/real_logit": 1.0,
    "discriminator/fake_logit": -0.5,
    "held_out/real_logit": 0.8,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"discriminator/hinge": 0.02}, r"hinge loss 0.020.* lower --learning_rate, raise --r1"),
        ({"held_out/real_logit": 0.1}, "knows its examples by heart"),
        ({"discriminator/fake_logit": 0.5, "held_out/real_logit": 0.1}, None),
        ({"held_out/real_logit": float("nan")}, None),
    ],
)
def test_diagnosis(untrained, changes, message):
    advice = untrained.diagnose(GOOD | changes)
    assert advice is None if message is None else re.search(message, advice)


# Conditional

TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")
CONDITIONAL = dataclasses.replace(
    CONFIG, conditioning=ConditioningConfig((KNOWN_SIGNALS["note_density"], TEMPO))
)


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
        held_out=_latents(8, seed=1),
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
    before = _weights(trainer)
    batch = tf.constant(_latents(4)), tf.constant(_conditioning(4))
    metrics = {k: float(v) for k, v in trainer.step(*batch).items()}
    assert set(metrics) == METRICS | {"estimator/real_error", "estimator/fake_error"}
    assert np.isfinite(list(metrics.values())).all()
    for name, network in trainer.networks.items():
        pairs = zip(before[name], network.get_weights(), strict=True)
        changed = sum(not np.array_equal(a, b) for a, b in pairs)
        # The estimator's last layer starts at zero: in the first step nothing below it learns.
        assert changed == (2 if name == "estimator" else len(network.trainable_weights)), name


def test_fakes_are_conditioned_with_their_context(conditional):
    """And what judges them is given the conditioning of the window alone."""
    number, conditioning = tf.constant(3, tf.int64), tf.constant(_conditioning(4))
    line, style, start = _draw(3, 4)
    made = conditional._generate(conditional.generator, number, 4, conditioning)
    expected = conditional.generator([line, style, conditioning, start])
    np.testing.assert_array_equal(made, expected)
    within = gan.without_context(conditional.config, conditioning)
    np.testing.assert_array_equal(within, _of_windows(conditioning))


def test_conditioning_reaches_both_losses(conditional):
    latents = tf.constant(_latents(4))
    one, same, other = (
        {k: float(v) for k, v in conditional.gradients(latents, tf.constant(given))[1].items()}
        for given in (_conditioning(4), _conditioning(4), _conditioning(4, seed=9))
    )
    assert one == same
    for name in ("discriminator/real_logit", "generator/adversarial", "latents/spread_ratio"):
        assert abs(one[name] - other[name]) > 1e-4, name


def _labelled_latents(n, seed=0):
    """Latents of which one channel is the density, another the tempo, in model units."""
    latents, conditioning = _latents(n, seed), _conditioning(n, seed)
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
    latents, conditioning = _latents(2), tf.constant(_of_windows(_conditioning(2)))
    r1, _ = conditional._r1(tf.constant(latents), conditioning)
    expected = _r1_by_differences(conditional.discriminator, latents, conditioning)
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
    player = _player(conditional, seen)
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
