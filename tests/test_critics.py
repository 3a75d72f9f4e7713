"""Discriminator and estimator: what they see, and what they say of it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_gan import CONDITIONAL, PATCH, TINY, steady_conditioning

from musika_tf.config import ConditioningConfig
from musika_tf.networks import critics, gan
from musika_tf.signals import KNOWN_SIGNALS


@pytest.fixture(scope="module")
def discriminator():
    keras.utils.set_random_seed(0)
    return critics.build_discriminator(TINY)


@pytest.fixture(scope="module")
def conditional_discriminator():
    keras.utils.set_random_seed(0)
    return critics.build_discriminator(CONDITIONAL)


def _latents(n):
    return np.random.default_rng(0).uniform(-1, 1, (n, 64, 6)).astype(np.float32)


def test_discriminator_rebuilds_its_whole_input(discriminator):
    latents = _latents(3)
    logits, dense_logit, reconstruction = discriminator(latents)
    assert logits.shape == (3, 8)
    assert dense_logit.shape == (3, 1)
    assert reconstruction.shape == latents.shape
    assert np.abs(reconstruction).max() < 1.0


def test_discriminator_sees_each_example_alone(discriminator):
    latents = _latents(3)
    together, alone = discriminator(latents), discriminator(latents[1:2])
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[1:2], b, atol=1e-5)


def test_the_dense_logit_sees_all_steps_at_once(discriminator):
    """What a change does to it depends on steps that no local logit sees together with it."""
    latents = tf.constant(_latents(1))

    def slopes(latents):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(latents)
            logits, dense_logit, _ = discriminator(latents)
            first = logits[:, 0]
        of_dense, of_first = tape.gradient(dense_logit, latents), tape.gradient(first, latents)
        return of_dense.numpy()[0], of_first.numpy()[0]

    of_dense, of_first = slopes(latents)
    assert (np.abs(of_dense).max(axis=1) > 0).all()
    assert (of_first[-16:] == 0).all()
    # Other steps at the end change the slopes at the beginning.
    spliced = tf.concat([latents[:, :48], -latents[:, 48:]], axis=1)
    elsewhere, _ = slopes(spliced)
    assert np.abs(elsewhere[:16] - of_dense[:16]).max() > 1e-4


def test_the_paper_has_local_logits_alone():
    latents = _latents(3)
    logits, reconstruction = critics.build_discriminator(PATCH)(latents)
    assert logits.shape == (3, 8)
    assert reconstruction.shape == latents.shape


def test_the_discriminator_sees_the_signals(conditional_discriminator):
    latents = tf.constant(_latents(2))
    conditioning = steady_conditioning(2, 64)
    before = conditional_discriminator([latents, tf.constant(conditioning)])
    assert before[-1].shape == latents.shape
    conditioning[1, 40:, 0] = 0.9
    after = conditional_discriminator([latents, tf.constant(conditioning)])
    for a, b in zip(after[:2], before[:2], strict=True):
        changes = np.abs(a - b)
        assert changes[1].max() > 1e-3
        np.testing.assert_allclose(changes[0], 0.0, atol=1e-6)


def test_the_estimator_has_a_column_for_each_feature():
    clock = dataclasses.replace(TINY, conditioning=ConditioningConfig((KNOWN_SIGNALS["beats"],)))
    assert critics.build_estimator(clock).output_shape == (None, 64, 6)
    assert critics.build_estimator(CONDITIONAL).output_shape == (None, 64, 2)


def test_what_the_discriminator_sees_has_unit_variance(tiny_config):
    """Left and right, that is: side has a gain."""
    form = dataclasses.replace(tiny_config.gan, mid_side=False)
    tiny_config = dataclasses.replace(tiny_config, gan=form)
    rng, depth = np.random.default_rng(0), tiny_config.stereo_latent_depth
    scale, shift = np.geomspace(0.3, 0.01, depth), rng.normal(0.0, 0.1, depth)
    before = shift + scale * rng.standard_normal((4, 2000, depth))
    generator = gan.build_generator(tiny_config)
    gan.set_output_spread(generator, scale, shift, np.zeros(depth // 2))
    seen = critics.standardised(tiny_config, generator, tf.constant(np.tanh(before), tf.float32))
    assert np.mean(np.square(seen)) == pytest.approx(1.0, rel=0.03)
    # Between equal spreads and those of the latents: the root of them.
    spreads = np.std(seen, axis=(0, 1))
    np.testing.assert_allclose(spreads / spreads[0], np.sqrt(scale / scale[0]), rtol=0.05)
