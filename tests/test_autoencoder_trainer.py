"""Autoencoder stages: what learns, what stays, what the metrics are."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from musika_tf import spectral
from musika_tf.networks.autoencoder import by_excerpt
from musika_tf.runs import checkpoint
from musika_tf.training import losses
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer

STAGES = [(1, 1), (1, 2), (2, 1), (2, 2)]
TRAINED = {
    (1, 1): {"encoder1", "decoder1"},
    # The decoder is the moving average of the one that learns.
    (1, 2): {"decoder1", "decoder1_learning", "discriminator"},
    (2, 1): {"encoder2", "decoder2"},
    (2, 2): {"decoder2", "decoder2_learning", "discriminator"},
}
# Layers that hold what was computed from the data.
CONSTANTS = {"principal", "standardization", "gain"}


def tones(config, batch_size, n_samples, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    seconds = np.arange(n_samples) / config.audio.sample_rate_hz
    pitches_hz = rng.uniform(100, 2000, (batch_size, 3, 1))
    waveforms = 0.1 * np.sin(2 * np.pi * pitches_hz * seconds).sum(axis=1)
    return (waveforms + 0.003 * rng.normal(size=waveforms.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def make_trainer(tiny_config, tiny_training):
    audio = tiny_config.audio
    held_out = tones(tiny_config, 3, 4 * audio.excerpt_n_samples + audio.overlap_size, seed=9)

    def make(level, phase, n_steps=None, **changes):
        # The discriminator takes part in every step, where nothing else is asked for.
        changes = {"adversarial_start_share": 0.0, "adversarial_period": 1} | changes
        return AutoencoderTrainer(
            config=tiny_config,
            training=dataclasses.replace(tiny_training, **changes),
            level=level,
            phase=phase,
            held_out=held_out,
            n_steps=n_steps,
        )

    return make


@pytest.fixture(scope="module")
def batch(tiny_config, tiny_training):
    return tones(tiny_config, tiny_training.batch_size, tiny_config.audio.pair_n_samples)


def weights(trainer) -> dict[str, list[np.ndarray]]:
    return {name: network.get_weights() for name, network in trainer.networks.items()}


@pytest.mark.parametrize(
    "level, phase",
    [pytest.param(*stage, marks=[pytest.mark.large] * (stage == (1, 2))) for stage in STAGES],
)
def test_only_the_stages_own_networks_change(make_trainer, batch, level, phase):
    trainer = make_trainer(level, phase)
    before = weights(trainer)
    step = tf.function(trainer.step, autograph=False)
    for _ in range(3):
        metrics = step(batch)
    assert all(np.isfinite(value) for value in metrics.values())
    assert int(trainer.state["step"]) == 3
    for name, after in weights(trainer).items():
        same = [np.array_equal(a, b) for a, b in zip(before[name], after, strict=True)]
        if name not in TRAINED[level, phase]:
            assert all(same), f"{name} must not change by one bit"
            continue
        variables = trainer.networks[name].weights
        for variable, is_same in zip(variables, same, strict=True):
            layer = variable.path.split("/")[0]
            if layer in CONSTANTS:
                assert is_same, f"{name}/{variable.path} is a constant"
            elif len(variable.shape) > 1:
                # Phase 1 has no use for what makes phases.
                is_left = (level, phase) == (1, 1) and layer in ("head", "phase")
                assert is_same == is_left, f"{name}/{variable.path}"
        layers = {variable.path.split("/")[0] for variable in variables}
        assert name == "discriminator" or "principal" in layers & CONSTANTS


@pytest.mark.large
@pytest.mark.parametrize("level, phase", STAGES)
def test_step_compiles_and_agrees_with_the_plain_graph(make_trainer, batch, level, phase):
    metrics = [
        tf.function(make_trainer(level, phase).step, autograph=False, jit_compile=jit)(batch)
        for jit in (False, True)
    ]
    assert metrics[0].keys() == metrics[1].keys()
    for name in metrics[0]:
        np.testing.assert_allclose(metrics[0][name], metrics[1][name], rtol=1e-3, atol=1e-4)


def train(trainer, batch, n_steps) -> None:
    step = tf.function(trainer.step, autograph=False)
    for _ in range(n_steps):
        step(batch)


def test_both_levels_learn(make_trainer, batch):
    level1, level2 = (make_trainer(level, 1, learning_rate=3e-3) for level in (1, 2))
    before = level1.validate()["held_out/log_magnitude_l1"]
    train(level1, batch, 60)
    reached = level1.validate()["held_out/log_magnitude_l1"]
    assert reached < 0.6 * before
    for name, network in level1.networks.items():
        level2.networks[name].set_weights(network.get_weights())
    before = level2.validate()["held_out/log_magnitude_l1"]
    train(level2, batch, 60)
    assert level2.validate()["held_out/log_magnitude_l1"] < 0.6 * before


@pytest.mark.slow
def test_phase_2_brings_the_waveform_closer(make_trainer, batch):
    trainer = make_trainer(1, 2, learning_rate=3e-3)
    before = trainer.validate()["held_out/multi_scale"]
    train(trainer, batch, 40)
    assert trainer.validate()["held_out/multi_scale"] < before - 1.0


def test_the_losses_have_their_weights(make_trainer, batch, monkeypatch):
    """With the paper's the decoder's gradient is that of L_adv + 1·L_rec + 4·L_ms, of waveforms."""
    trainer = make_trainer(1, 2, reconstruction_weight=1.0, multi_scale_weight=4.0)
    applied = {}
    monkeypatch.setattr(
        trainer.optimizers["decoder"], "apply", lambda g, v: applied.update(gradients=g)
    )
    monkeypatch.setattr(trainer.optimizers["discriminator"], "apply", lambda g, v: None)
    trainer.step(batch)
    learning = trainer.networks["decoder1_learning"]
    variables = learning.trainable_variables
    latents = trainer.autoencoder.encode1(trainer.autoencoder.log_spectrogram(batch))
    real = batch[:, 768:-768]
    with tf.GradientTape() as tape:
        decoded, directions = by_excerpt(learning, latents, 64)
        fake = trainer._waveform(decoded, directions)
        total = (
            -tf.reduce_mean(trainer.discriminator(spectral.log_spectrogram(fake, 1536, 256)))
            + 1.0
            * losses.l1(
                spectral.log_spectrogram(real, 1024, 256), spectral.log_spectrogram(fake, 1024, 256)
            )
            + 4.0 * losses.multi_scale_spectral_distance(real, fake, (64, 128, 256, 512))
        )
    for expected, gradient in zip(
        tape.gradient(total, variables), applied["gradients"], strict=True
    ):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_the_discriminator_comes_in_late_and_every_few_steps(make_trainer, batch):
    trainer = make_trainer(1, 2, n_steps=8, adversarial_start_share=0.5, adversarial_period=3)
    step = tf.function(trainer.step, autograph=False)
    variables = [
        v for v in trainer.named_variables() if "/discriminator/" in v and "singular" not in v
    ]
    took_part, hinges = [], []
    for _ in range(8):
        before = [trainer.named_variables()[name].numpy() for name in variables]
        hinges.append(float(step(batch)["discriminator/hinge"]))
        after = [trainer.named_variables()[name].numpy() for name in variables]
        took_part.append(not all(map(np.array_equal, before, after)))
    # From half of the steps on, where the step is a multiple of 3; moments stand still as well.
    assert [number for number, moved in enumerate(took_part) if moved] == [6]
    assert [number for number, hinge in enumerate(hinges) if hinge != 0.0] == [6]
    # It is weighted such that the mean over all steps is that over its own.
    assert hinges[6] == pytest.approx(3 * 2.0, abs=3.0)


@pytest.mark.parametrize("level", [1, pytest.param(2, marks=pytest.mark.large)])
def test_decoder_is_the_moving_average_of_the_one_that_learns(make_trainer, batch, level):
    trainer = make_trainer(level, 2)
    average, learning = (trainer.networks[f"decoder{level}{n}"] for n in ("", "_learning"))
    expected = learning.get_weights()
    for one, other in zip(average.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    step = tf.function(trainer.step, autograph=False)
    for n_done in range(3):
        step(batch)
        decay = min(trainer.training.average_decay, (1 + n_done) / (10 + n_done))
        expected = [
            decay * old + (1 - decay) * new
            for old, new in zip(expected, learning.get_weights(), strict=True)
        ]
    for value, found in zip(expected, average.get_weights(), strict=True):
        np.testing.assert_allclose(found, value, atol=1e-6)
    assert any(not np.allclose(a, b) for a, b in zip(expected, learning.get_weights(), strict=True))


def test_without_a_decoder_that_learns_it_starts_from_the_decoder(make_trainer, tmp_path):
    before = make_trainer(1, 1, seed=5)
    path = checkpoint.save(tmp_path, before.named_variables(), 1)
    trainer = make_trainer(1, 2)
    trainer.begin_with(path, left_out=trainer.new_networks)
    for name in ("decoder1", "decoder1_learning"):
        for one, other in zip(
            trainer.networks[name].get_weights(),
            before.networks["decoder1"].get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n_steps, shares", [(10, (1.0, 0.6, 0.2, 0.2)), (None, (1.0,) * 4)])
def test_learning_rate_falls_by_half_a_cosine(make_trainer, n_steps, shares):
    trainer = make_trainer(1, 1, n_steps=n_steps, final_learning_rate_share=0.2)
    for step, share in zip((0, 5, 10, 20), shares, strict=True):
        trainer.state["step"].assign(step)
        expected = share * trainer.training.learning_rate
        assert float(trainer._learning_rate()) == pytest.approx(expected, rel=1e-5)


def test_optimizers_learn_at_that_rate(make_trainer, batch):
    trainer = make_trainer(1, 1, n_steps=4, final_learning_rate_share=0.0)
    step = tf.function(trainer.step, autograph=False)
    for _ in range(3):
        step(batch)
    # The third of four steps: half of it is over.
    rate = float(trainer.optimizers["decoder"].learning_rate)
    assert rate == pytest.approx(0.5 * trainer.training.learning_rate, rel=1e-5)


def test_level_2_is_compared_with_what_decoder_1_makes_of_true_latents(make_trainer, batch):
    trainer = make_trainer(2, 1)
    autoencoder = trainer.autoencoder
    log_magnitudes = autoencoder.log_spectrogram(batch)
    latents = autoencoder.encode1(log_magnitudes)
    wanted, _ = autoencoder.decode1(latents)
    decoded, _ = autoencoder.decode1(autoencoder.decode2(autoencoder.encode2(latents)))
    loss = float(trainer.step(batch)["decoder/audible_l1"])
    assert loss == pytest.approx(float(losses.audible_l1(wanted, decoded)), rel=1e-4)
    assert loss != pytest.approx(float(losses.audible_l1(log_magnitudes, decoded)), rel=1e-2)
    trainer = make_trainer(2, 2)
    autoencoder = trainer.autoencoder
    latents = autoencoder.encode1(log_magnitudes)
    real = trainer._waveform(*autoencoder.decode1(latents))
    made = trainer._waveform(*trainer._decode(trainer._learning, latents, 2))
    expected = float(losses.multi_scale_spectral_distance(real, made, (64, 128, 256, 512)))
    assert float(trainer.step(batch)["decoder/multi_scale"]) == pytest.approx(expected, rel=1e-4)


def test_validation_metrics_by_hand(make_trainer):
    trainer = make_trainer(2, 1)
    pairs = trainer._held_out_pairs()
    assert pairs.shape == (6, trainer.config.audio.pair_n_samples)
    np.testing.assert_array_equal(pairs[:3], trainer._held_out[:, : pairs.shape[1]])
    log_magnitudes = trainer.autoencoder.log_spectrogram(pairs)
    level1_latents = trainer.autoencoder.encode1(log_magnitudes)
    latents = trainer.autoencoder.encode2(level1_latents)
    decoded, _ = trainer.autoencoder.decode1(trainer.autoencoder.decode2(latents))
    # What level 1 alone makes of it is the best that level 2 can do.
    target, _ = trainer.autoencoder.decode1(level1_latents)
    expected = np.abs(target - decoded).mean()
    measured = trainer.validate()["held_out/log_magnitude_l1"]
    assert measured == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("level, phase", [(1, 1), (2, 2)])
def test_samples_are_the_held_out_excerpts(make_trainer, level, phase):
    trainer = make_trainer(level, phase)
    samples = trainer.sample()
    assert len(samples.waveforms) == len(samples.references) == 3
    original = samples.references["excerpt1/original"]
    np.testing.assert_array_equal(original[:, 0], trainer._held_out[1, 768:-768])
    assert samples.waveforms["excerpt1/reconstruction"].shape == original.shape
