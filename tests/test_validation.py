"""Held-out metrics of the GAN, of music and of networks whose answers are known."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from musika_tf.config import AutoencoderConfig, ConditioningConfig, Config, GanConfig
from musika_tf.networks import critics
from musika_tf.signals import KNOWN_SIGNALS
from musika_tf.training import validation

LINE = Config(
    autoencoder=AutoencoderConfig(level2_latent_depth=2),
    gan=GanConfig(
        anchor_depth=4,
        style_depth=4,
        seq_len=16,
        generator_widths=(8, 8, 8),
        latent_discriminator_widths=(8, 8),
    ),
)
PATCHES = dataclasses.replace(LINE, gan=dataclasses.replace(LINE.gan, normalisation="patch"))
CLOCKED = dataclasses.replace(LINE, conditioning=ConditioningConfig((KNOWN_SIGNALS["beats"],)))
CONTEXT = LINE.gan.context_n_steps
# A step a unit of time, the same in all channels; another piece is 1000 steps later.
REAL = np.arange(32.0)[:, None] + 1000.0 * np.arange(4)[:, None, None] + np.zeros(4)


@pytest.fixture(autouse=True)
def _as_they_are(monkeypatch):
    """The networks here are plain functions that see latents as they are."""
    monkeypatch.setattr(critics, "standardised", lambda config, generator, latents: latents)


def follower(inputs):
    """Latents are the coordinates, whatever lies beside the window."""
    coordinates = inputs[0]
    # Patches come without.
    context = CONTEXT if coordinates.shape[1] > LINE.gan.seq_len else 0
    return coordinates[:, context : coordinates.shape[1] - context]


def painter(inputs):
    """Latents are a loop, painted on the steps of a window or patch."""
    latents = follower(inputs)
    loop = np.random.default_rng(0).normal(size=(1, *latents.shape[1:]))
    return tf.cast(tf.tile(loop, [tf.shape(latents)[0], 1, 1]), tf.float32)


def rate_of_change(inputs):
    """A discriminator that minds leaps: its logit is less the largest of them."""
    latents = inputs[0] if isinstance(inputs, list) else inputs
    leaps = tf.abs(latents[:, 1:] - latents[:, :-1])
    return [-tf.reduce_max(leaps, axis=(1, 2))[:, tf.newaxis], latents]


def metrics(config, generator, conditioning=None, discriminator=rate_of_change):
    networks = validation.Networks(generator, discriminator, None)
    real = REAL.astype(np.float32)
    outputs = validation.outputs(config, networks, 0, tf.constant(real), conditioning)
    outputs = {name: x.numpy() for name, x in outputs.items()}
    return validation.gan(config, outputs, real, conditioning)


def test_a_splice_and_a_shuffle_of_known_pieces():
    x = tf.constant(REAL[..., 0])
    spliced, shuffled = validation.spliced(x).numpy(), validation.shuffled(x).numpy()
    # Half of the four pieces lies between those that are spliced.
    np.testing.assert_array_equal(spliced[0], [*range(16), *range(2016, 2032)])
    np.testing.assert_array_equal(spliced[3], [*range(3000, 3016), *range(1016, 1032)])
    np.testing.assert_array_equal(np.sort(shuffled), x)
    assert not np.array_equal(shuffled, x)
    np.testing.assert_array_equal(shuffled[1] - 1000, shuffled[0])
    # Inside a block time goes on.
    np.testing.assert_array_equal(np.diff(shuffled.reshape(4, 4, 8)), 1.0)


def test_what_fills_no_block_stays():
    x = tf.constant([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]])
    np.testing.assert_array_equal(validation.shuffled(x), x)


def test_logits_of_spliced_and_shuffled_music():
    found = metrics(LINE, follower)
    assert found["held_out/real_logit"] == -1.0
    # Two pieces are spliced forwards, by 2001, and two backwards, by 1999.
    assert found["held_out/spliced_logit"] == pytest.approx(-2000.0)
    # Whole blocks of 8 that were next to each other are not any more.
    assert -32.0 < found["held_out/shuffled_logit"] <= -9.0


def test_conditioning_moves_with_what_it_belongs_to():
    """A discriminator that minds whether latents and beats are the same."""

    def fit(inputs):
        latents, conditioning = inputs
        apart = tf.abs(latents[..., :1] - conditioning)
        return [-tf.reduce_mean(apart, axis=(1, 2))[:, tf.newaxis], latents]

    before = np.arange(-CONTEXT, 0.0)[:, None] + REAL[:, :1, :1]
    after = np.arange(32.0, 32 + CONTEXT)[:, None] + REAL[:, :1, :1]
    beats = np.concatenate([before, REAL[..., :1], after], axis=1).astype(np.float32)
    found = metrics(CLOCKED, follower, beats, fit)
    for name in ("real", "spliced", "shuffled"):
        assert found[f"held_out/{name}_logit"] == 0.0
    assert found["held_out/mismatched_logit"] == -2000.0


@pytest.mark.parametrize("config", [LINE, PATCHES])
def test_the_shift_of_one_that_follows_and_of_one_that_paints(config):
    assert metrics(config, follower)["held_out/shift_ratio"] == pytest.approx(0.0, abs=1e-5)
    assert metrics(config, painter)["held_out/shift_ratio"] > 1e3


def test_the_shift_of_noise_is_1():
    """Music that is another one each time is as far from the one as from the other."""
    once, again = np.random.default_rng(0).normal(size=(2, 50, 64, 4))
    assert validation.shift_ratio(once, again[:, :32], 4) == pytest.approx(1.0, abs=0.03)


def test_the_window_that_is_moved_starts_where_windows_may():
    assert validation.shift_n_steps(LINE.gan) == 4 == LINE.gan.coarsest_n_steps
    assert validation.shift_n_steps(PATCHES.gan) == 4
