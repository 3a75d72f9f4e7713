"""A GAN of a few channels and what it learns from, for tests of its trainer."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from musika_tf.config import AutoencoderConfig, Config, GanConfig
from musika_tf.networks import gan
from musika_tf.player import Player
from musika_tf.training import gan_draws
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
TRAINING = TrainingConfig(batch_size=4, learning_rate=1e-3, seed=5)
METRICS = {
    "discriminator/hinge",
    "discriminator/reconstruction",
    "discriminator/spliced",
    "discriminator/r1",
    "discriminator/r1_gamma",
    "discriminator/real_logit",
    "discriminator/fake_logit",
    "generator/adversarial",
    "latents/spread_ratio",
    "skipped",
}


def random_latents(n, seed=0):
    rng = np.random.default_rng(seed)
    left = rng.uniform(0, 2 * np.pi, (n, 1, 2)) + np.arange(32)[:, None] * 0.4
    # Left and right differ little, as in music.
    phase = np.concatenate([left, left + rng.normal(0, 0.1, (n, 1, 2))], axis=-1)
    return np.tanh(np.sin(phase)).astype(np.float32)


def weights_of(trainer):
    return {name: network.get_weights() for name, network in trainer.networks.items()}


def draw(number, n, sizes=CONFIG.gan):
    return gan_draws.windows(sizes, 5, tf.constant(number, tf.int64), n, is_shared=False)


def r1_by_differences(discriminator, latents, *conditioning):
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


def player_of(trainer, seen):
    """The networks of a trainer in place of an exported model; latents go to `seen`."""

    def latents(coordinates, style, start, conditioning=None):
        given = coordinates, style, conditioning, start
        return {"latents": gan.latents(trainer.config, trainer.generator_average, *given)}

    def decode(latents, overlap):
        seen.append(latents)
        return {"waveform": latents[..., :2], "overlap": overlap}

    return Player(pathlib.Path("trainer"), trainer.config, {}, latents, decode)
