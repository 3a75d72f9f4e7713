"""What becomes of real latents before the discriminator sees them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from musika_tf.training import gan_draws

STEP = tf.constant(0, tf.int64)


def test_half_of_the_examples_have_left_and_right_exchanged():
    latents = np.random.default_rng(0).normal(size=(512, 3, 4)).astype(np.float32)
    made = gan_draws.exchanged(tf.constant(latents), 5, STEP).numpy()
    other = np.roll(latents, 2, axis=-1)
    kept, exchanged = ((made == x).all(axis=(1, 2)) for x in (latents, other))
    assert (kept ^ exchanged).all()
    assert 0.4 < exchanged.mean() < 0.6
    # What was exchanged before is given back: which side is which makes no difference.
    again = gan_draws.exchanged(tf.constant(other), 5, STEP)
    np.testing.assert_array_equal(again, np.roll(made, 2, axis=-1))
    at_the_next_step = gan_draws.exchanged(tf.constant(latents), 5, tf.constant(1, tf.int64))
    assert np.abs(at_the_next_step - made).max() > 0.1


def test_a_spliced_example_goes_on_as_another_from_a_step_of_its_own():
    n, n_steps = 256, 32
    example, step = np.meshgrid(np.arange(n), np.arange(n_steps), indexing="ij")
    latents = tf.constant(np.stack([example, step], axis=-1), tf.float32)
    made = gan_draws.spliced(latents, 5, STEP).numpy()
    # No step has moved.
    np.testing.assert_array_equal(made[..., 1], step)
    is_own = made[..., 0] == example
    np.testing.assert_array_equal(made[..., 0], np.where(is_own, example, (example - 1) % n))
    cuts = is_own.sum(axis=1)
    np.testing.assert_array_equal(is_own, step < cuts[:, np.newaxis])
    assert set(cuts) == set(range(8, 24))
    np.testing.assert_array_equal(gan_draws.spliced(latents, 5, STEP), made)
    assert np.any(made != gan_draws.spliced(latents, 5, STEP + 1))
