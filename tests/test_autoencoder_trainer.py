"""Autoencoder stages: what learns, what stays, what the metrics are."""

import numpy as np
import pytest
import tensorflow as tf

from musika_tf import spectral
from musika_tf.training import losses
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer

STAGES = [(1, 1), (1, 2), (2, 1), (2, 2)]
TRAINED = {
    (1, 1): {"encoder1", "decoder1"},
    (1, 2): {"decoder1", "discriminator"},
    (2, 1): {"encoder2", "decoder2"},
    (2, 2): {"decoder2", "discriminator"},
}


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

    def make(level, phase):
        return AutoencoderTrainer(
            config=tiny_config,
            training=tiny_training,
            level=level,
            phase=phase,
            held_out=held_out,
        )

    return make


@pytest.fixture(scope="module")
def batch(tiny_config, tiny_training):
    return tones(tiny_config, tiny_training.batch_size, tiny_config.audio.pair_n_samples)


def weights(trainer) -> dict[str, list[np.ndarray]]:
    return {name: network.get_weights() for name, network in trainer.networks.items()}


@pytest.mark.parametrize("level, phase", STAGES)
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
        kernels = [not_moved for not_moved, a in zip(same, after, strict=True) if a.ndim > 1]
        if name not in TRAINED[level, phase]:
            assert all(same), f"{name} must not change by one bit"
        elif (level, phase, name) == (1, 1, "decoder1"):
            assert kernels.count(True) == 1, "all but the phase head's change"
        else:
            assert not any(kernels), name


@pytest.mark.parametrize(
    "level, phase",
    # Phase 2 of level 2 goes through all that the others do.
    [pytest.param(*stage, marks=[pytest.mark.large] * (stage != (2, 2))) for stage in STAGES],
)
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
    for optimizer in trainer.optimizers.values():
        optimizer.learning_rate = 3e-3
    for _ in range(n_steps):
        step(batch)


def test_both_levels_learn(make_trainer, batch):
    level1, level2 = make_trainer(1, 1), make_trainer(2, 1)
    before = level1.validate()["held_out/log_magnitude_l1"]
    train(level1, batch, 60)
    reached = level1.validate()["held_out/log_magnitude_l1"]
    assert reached < 0.6 * before
    for name, network in level1.networks.items():
        level2.networks[name].set_weights(network.get_weights())
    before = level2.validate()["held_out/log_magnitude_l1"]
    train(level2, batch, 60)
    assert level2.validate()["held_out/log_magnitude_l1"] < reached + 0.6 * (before - reached)


def test_phase_2_brings_the_waveform_closer(make_trainer, batch):
    trainer = make_trainer(1, 2)
    before = trainer.validate()["held_out/multi_scale"]
    train(trainer, batch, 40)
    assert trainer.validate()["held_out/multi_scale"] < before - 1.0


def test_weights_of_the_losses_are_the_papers(make_trainer, batch, monkeypatch):
    """The decoder's gradient is that of L_adv + 1·L_rec + 4·L_ms."""
    trainer = make_trainer(1, 2)
    applied = {}
    monkeypatch.setattr(
        trainer.optimizers["decoder"], "apply", lambda g, v: applied.update(gradients=g)
    )
    monkeypatch.setattr(trainer.optimizers["discriminator"], "apply", lambda g, v: None)
    trainer.step(batch)
    variables = trainer.autoencoder.networks["decoder1"].trainable_variables
    latents = trainer.autoencoder.encode1(trainer.autoencoder.log_spectrogram(batch))
    with tf.GradientTape() as tape:
        decoded, directions = trainer.autoencoder.decode1(latents)
        fake = trainer._waveform(decoded, directions)
        total = (
            -tf.reduce_mean(trainer.discriminator(spectral.log_spectrogram(fake, 1536, 256)))
            + 1.0 * losses.l1(trainer.autoencoder.log_spectrogram(batch), decoded)
            + 4.0
            * losses.multi_scale_spectral_distance(batch[:, 768:-768], fake, (64, 128, 256, 512))
        )
    for expected, gradient in zip(
        tape.gradient(total, variables), applied["gradients"], strict=True
    ):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_same_seed_same_training(make_trainer, batch):
    runs = []
    for _ in range(2):
        trainer = make_trainer(1, 2)
        step = tf.function(trainer.step, autograph=False)
        runs.append([float(step(batch)["decoder/multi_scale"]) for _ in range(3)])
    assert runs[0] == runs[1]


def test_validation_metrics_by_hand(make_trainer):
    trainer = make_trainer(2, 1)
    pairs = trainer._held_out_pairs()
    assert pairs.shape == (6, trainer.config.audio.pair_n_samples)
    np.testing.assert_array_equal(pairs[:3], trainer._held_out[:, : pairs.shape[1]])
    log_magnitudes = trainer.autoencoder.log_spectrogram(pairs)
    latents = trainer.autoencoder.encode2(trainer.autoencoder.encode1(log_magnitudes))
    decoded, _ = trainer.autoencoder.decode1(trainer.autoencoder.decode2(latents))
    expected = np.abs(log_magnitudes - decoded).mean()
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
