"""The trainer of the GAN: what a step changes, draws and penalises, and what is told of it."""

import dataclasses
import re

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

from musika_tf import generation
from musika_tf.networks import critics
from musika_tf.runs import checkpoint
from musika_tf.training import gan_draws, losses
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training.r1_control import R1Control
from musika_tf.training_config import TrainingConfig


def _trainer(**training):
    return GanTrainer(
        config=CONFIG,
        training=dataclasses.replace(TRAINING, **training),
        held_out=random_latents(8, seed=1),
    )


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
    before = weights_of(trainer)
    # XLA compiles it in test_lowering.py.
    step = tf.function(trainer.step, autograph=False)
    metrics = [{k: float(v) for k, v in step(random_latents(4)).items()} for _ in range(3)]
    assert int(trainer.state["step"]) == 3
    return trainer, before, weights_of(trainer), metrics, step


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
    trainer.step(tf.constant(random_latents(4)))
    rows = zip(
        before,
        trainer.generator.get_weights(),
        trainer.generator_average.get_weights(),
        strict=True,
    )
    for old, new, average in rows:
        np.testing.assert_allclose(average, decay * old + (1 - decay) * new, atol=1e-6)


def test_same_seed_same_metrics_other_seed_others():
    latents = tf.constant(random_latents(4))
    runs = []
    for seed, n_steps in ((5, 2), (5, 2), (6, 1)):
        step = _trainer(seed=seed).step
        runs.append([{k: float(v) for k, v in step(latents).items()} for _ in range(n_steps)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]


def test_draws_follow_from_seed_and_step():
    for first, again, other in zip(draw(0, 4), draw(0, 4), draw(1, 4), strict=True):
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize(("sizes", "n_starts"), [(CONFIG.gan, 2), (PATCH_GAN, 32)])
def test_drawn_windows_are_pieces_of_a_line_in_one_style(sizes, n_starts):
    line, style, start = (x.numpy() for x in draw(0, 256, sizes))
    n_steps = 32 + 2 * sizes.context_n_steps
    assert line.shape == style.shape == (256, n_steps, 4)
    assert (style == style[:, :1]).all()
    assert len(set(start)) == n_starts and start.max() < 32
    # Straight lines, with corners at the anchors alone: every 32 steps.
    corners = np.abs(np.diff(line, n=2, axis=1)).max(axis=-1) > 1e-4
    steps = start[:, None] - sizes.context_n_steps + np.arange(1, n_steps - 1)
    np.testing.assert_array_equal(corners, steps % 32 == 0)


def test_the_discriminator_sees_real_latents_exchanged(untrained):
    latents = tf.constant(random_latents(4))
    metrics = untrained.gradients(latents)[1]
    seen = gan_draws.exchanged(latents, 5, tf.constant(0, tf.int64))
    assert np.abs(seen - latents).max() > 0.1
    standardised = critics.standardised(CONFIG, untrained.generator, seen)
    logit = np.mean(losses.mean_logit(untrained.discriminator(standardised)[:2]))
    assert float(metrics["discriminator/real_logit"]) == pytest.approx(logit, abs=1e-5)
    spliced = gan_draws.spliced(standardised, 5, tf.constant(0, tf.int64))
    parts = untrained.discriminator(spliced)[:2]
    expected = 0.5 * np.mean([np.maximum(0.0, 1.0 + logits).mean() for logits in parts])
    assert float(metrics["discriminator/spliced"]) == pytest.approx(expected, abs=1e-5)


def test_one_example_alone_is_not_spliced(untrained):
    assert "discriminator/spliced" not in untrained.gradients(tf.constant(random_latents(1)))[1]


# R1


def test_r1_is_half_the_squared_gradient_of_the_mean_logit(untrained):
    latents = random_latents(2)
    r1, _ = untrained._r1(tf.constant(latents), None)
    expected = r1_by_differences(untrained.discriminator, latents)
    assert float(r1) == pytest.approx(TRAINING.r1_period * expected, rel=1e-3)


def test_r1_moves_the_discriminator_by_gamma_in_every_fourth_step():
    """R1 is a square of the last layers' kernels: its slope along them is twice itself (Euler)."""
    trainer = _trainer(r1_gamma=3.0)
    r1, gradients = trainer._r1(tf.constant(random_latents(2)), None)
    heads = ("logits_conv/kernel", "dense_logit_conv/kernel")
    pairs = zip(trainer.discriminator.trainable_variables, gradients, strict=True)
    slope = sum(np.sum(v.numpy() * g.numpy()) for v, g in pairs if v.path in heads)
    assert slope == pytest.approx(2 * 3.0 * float(r1), rel=1e-4)
    steps = {}
    for step in range(9):
        trainer.state["step"].assign(step)
        r1, gradients = trainer._r1(tf.constant(random_latents(2)), None)
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


def test_training_learns_to_rebuild_real_latents(trained):
    *_, metrics, step = trained
    for _ in range(300):
        latest = step(random_latents(4))
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
    real = random_latents(8, seed=1).reshape(-1, 4)
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


@pytest.mark.parametrize("piece", [0, 1])
def test_samples_are_the_beginning_of_generated_ones(untrained, piece):
    seen, request = [], generation.Request(n_pieces=2)
    player = player_of(untrained, seen)
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
