"""A GAN that begins with one that follows other signals makes the same of all that both know."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from random_model import save_networks

from musika_tf.config import ConditioningConfig, Signal
from musika_tf.networks import critics
from musika_tf.runs import checkpoint
from musika_tf.signals import KNOWN_SIGNALS
from musika_tf.training import warm_start
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training_config import TrainingConfig

BEATS = KNOWN_SIGNALS["beats"]
BRIGHT = Signal("bright", "share", 0.0, 1.0, "step")
LOUD = Signal("loud", "share", -1.0, 1.0, "step")
WARM = Signal("warm", "share", 0.0, 10.0, "step")


def trainer_of(tiny_config, normalisation, *signals) -> GanTrainer:
    gan = dataclasses.replace(
        tiny_config.gan, normalisation=normalisation, dense_logit=normalisation == "step"
    )
    config = dataclasses.replace(
        tiny_config, gan=gan, conditioning=ConditioningConfig(tuple(signals))
    )
    trainer = GanTrainer(config=config, training=TrainingConfig(), held_out=None)
    rng = np.random.default_rng(len(signals))
    # Some weights are zero at first, and would show no difference.
    for network in trainer.networks.values():
        network.set_weights([w + 0.1 * rng.normal(size=w.shape) for w in network.get_weights()])
    return trainer


def saved(folder: pathlib.Path, trainer: GanTrainer, *left_out: str) -> pathlib.Path:
    networks = {k: v for k, v in trainer.networks.items() if k not in left_out}
    save_networks(folder, "gan", 1, networks)
    (folder / "config.json").write_text(trainer.config.to_json())
    (path,) = (folder / "gan").glob("*.safetensors")
    # A run's own checkpoint holds more than networks.
    more = {"state/step": np.array(1), "loop/best_metric": np.array(0.5)}
    checkpoint.save_arrays(path, safetensors.numpy.load_file(path) | more)
    return path


def made(trainer: GanTrainer, conditioning: list[list[float]]) -> dict[str, np.ndarray]:
    """What each network makes of the same inputs and of one value a signal."""
    gan, rng = trainer.config.gan, np.random.default_rng(0)
    n, length = 3, 2 * gan.seq_len
    latents = rng.normal(size=(n, length, trainer.config.stereo_latent_depth)) * 0.3
    n_in = gan.seq_len + 2 * gan.context_n_steps
    coordinates, style = (
        rng.normal(size=(n, n_in, depth)) for depth in (gan.anchor_depth, gan.style_depth)
    )

    def along(n_steps):
        return [np.tile(np.float32(conditioning), (n, n_steps, 1))] if conditioning[0] else []

    start, seen = np.zeros(n, np.int32), [latents, *along(length)]
    seen = seen if conditioning[0] else latents
    return {
        "generator": trainer.generator([coordinates, style, *along(n_in), start]),
        "average": trainer.generator_average([coordinates, style, *along(n_in), start]),
        "logits": trainer.networks["discriminator"](seen)[0],
    }


@pytest.mark.parametrize("normalisation", ["step", "patch"])
def test_what_both_follow_is_followed_as_before(tmp_path, tiny_config, normalisation):
    theirs = trainer_of(tiny_config, normalisation, BRIGHT, LOUD)
    ours = trainer_of(tiny_config, normalisation, WARM, BRIGHT)
    warm_start.begin_with(saved(tmp_path, theirs), ours)
    # The middle of its range is zero to a network, as if the signal were not there.
    expected = made(theirs, [[0.2, 0.0]])
    for value in (0.0, 8.0):
        for name, output in made(ours, [[value, 0.2]]).items():
            np.testing.assert_allclose(output, expected[name], atol=1e-4, err_msg=name)
    for name, output in made(ours, [[0.0, 0.9]]).items():
        assert np.abs(output - expected[name]).max() > 1e-3, name
    latents = np.random.default_rng(1).normal(
        size=(2, 2 * tiny_config.gan.seq_len, tiny_config.stereo_latent_depth)
    )
    of_theirs, of_ours = (t.networks["estimator"](latents).numpy() for t in (theirs, ours))
    np.testing.assert_allclose(of_ours[..., 1], of_theirs[..., 0], atol=1e-4)
    np.testing.assert_array_equal(of_ours[..., 0], 0.0)


def test_signals_keep_their_weights_wherever_they_stand(tmp_path, tiny_config):
    theirs = trainer_of(tiny_config, "step", BEATS, LOUD)
    clock = dataclasses.replace(BEATS, tempos_bpm=(60.0, 90.0))
    ours = trainer_of(tiny_config, "step", LOUD, clock)
    path = saved(tmp_path, theirs)
    calibrated = dataclasses.replace(LOUD, response=((-1.0, -0.3), (1.0, 0.6)))
    conditioning = ConditioningConfig((BEATS, calibrated))
    config = dataclasses.replace(theirs.config, conditioning=conditioning)
    (tmp_path / "config.json").write_text(config.to_json())
    warm_start.begin_with(path, ours)
    expected = made(theirs, [[1.3, 0.4]])
    for name, output in made(ours, [[0.4, 1.3]]).items():
        np.testing.assert_allclose(output, expected[name], atol=1e-4, err_msg=name)


def test_a_gan_without_signals_begins_with_one_that_has_some(tmp_path, tiny_config, capsys):
    theirs, ours = trainer_of(tiny_config, "step", LOUD), trainer_of(tiny_config, "step")
    warm_start.begin_with(saved(tmp_path, theirs), ours)
    assert "followed loud; this GAN follows nothing" in capsys.readouterr().out
    expected = made(theirs, [[0.0]])
    for name, output in made(ours, [[]]).items():
        np.testing.assert_allclose(output, expected[name], atol=1e-4, err_msg=name)


def test_a_gan_with_signals_begins_with_one_that_has_none(tmp_path, tiny_config):
    theirs = trainer_of(tiny_config, "step")
    ours = trainer_of(tiny_config, "step", BEATS)
    untouched = ours.networks["estimator"].get_weights()
    warm_start.begin_with(saved(tmp_path, theirs, "generator"), ours)
    expected = made(theirs, [[]])["average"]
    for name in ("generator", "average"):
        np.testing.assert_allclose(made(ours, [[2.7]])[name], expected, atol=1e-4, err_msg=name)
    for before, after in zip(untouched, ours.networks["estimator"].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_weights_that_follow_the_same_are_taken_as_they_are(tmp_path, tiny_config, capsys):
    theirs, ours = (trainer_of(tiny_config, "step", LOUD, BEATS) for _ in range(2))
    theirs.generator_average.set_weights([w * 2 for w in theirs.generator_average.get_weights()])
    warm_start.begin_with(saved(tmp_path, theirs), ours)
    assert not capsys.readouterr().out
    for name, network in theirs.networks.items():
        for a, b in zip(network.get_weights(), ours.networks[name].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("mid_side", [True, False])
def test_critics_judge_mid_and_side_as_they_judged_left_and_right(tmp_path, tiny_config, mid_side):
    def of(mid_side, *signals):
        gan = dataclasses.replace(tiny_config.gan, mid_side=mid_side)
        return trainer_of(dataclasses.replace(tiny_config, gan=gan), "step", *signals)

    theirs, ours = of(not mid_side, BRIGHT), of(mid_side, WARM, BRIGHT)
    path = saved(tmp_path, theirs)
    # As released weights are; these are then compared with what was rounded.
    halves = {k: v.astype(np.float16) for k, v in safetensors.numpy.load_file(path).items()}
    checkpoint.save_arrays(path, halves)
    checkpoint.load_networks(path, theirs.networks)
    warm_start.begin_with(path, ours)
    shape = 2, 2 * tiny_config.gan.seq_len, tiny_config.stereo_latent_depth
    latents = np.random.default_rng(1).uniform(-0.5, 0.5, shape).astype(np.float32)
    value = np.full((*shape[:2], 1), 0.2, np.float32)
    found = []
    for trainer, beside in (theirs, value), (ours, np.concatenate([5.0 + 0 * value, value], -1)):
        seen = critics.standardised(trainer.config, trainer.generator, latents)
        logits, rebuilt = critics.judged(trainer.discriminator, seen, tf.constant(beside))
        if trainer.config.gan.mid_side:
            rebuilt = rebuilt @ np.linalg.inv(critics.mid_side_matrix(shape[-1]))
        found.append([*logits, rebuilt, trainer.estimator(seen)[..., -1]])
    for expected, output in zip(*found, strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-3)


def test_mid_is_what_left_and_right_have_in_common():
    left, right = np.array([0.3, -0.2]), np.array([0.1, -0.2])
    mid, side = np.split(np.concatenate([left, right]) @ critics.mid_side_matrix(4), 2)
    np.testing.assert_allclose(mid, (left + right) / 2**0.5, atol=1e-12)
    np.testing.assert_allclose(side, 3 * (left - right) / 2**0.5, atol=1e-12)
