"""Objectives against formulas by hand and librosa; safe on silence."""

import librosa
import numpy as np
import pytest
import tensorflow as tf

from musika_tf.training import losses

HOP_SIZES = (64, 128, 256, 512)


def test_hinge_by_hand():
    real, fake = np.array([[2.0, 0.5], [-1.0, 1.0]]), np.array([[-2.0, 0.0], [-0.5, 1.0]])
    # real: max(0, 1 - x) = 0, .5, 2, 0; fake: max(0, 1 + x) = 0, 1, .5, 2.
    loss = losses.hinge_discriminator_loss(tf.constant(real), tf.constant(fake))
    assert float(loss) == pytest.approx(2.5 / 4 + 3.5 / 4)
    assert float(losses.hinge_generator_loss(tf.constant(fake))) == pytest.approx(1.5 / 4)


def test_hinge_of_negatives_is_the_discriminators_half():
    parts = [tf.constant([[-2.0, 0.5]]), tf.constant([[1.0]])]
    assert float(losses.hinge_of_negatives(parts)) == pytest.approx((1.5 / 2 + 2.0) / 2)


def test_l1_by_hand():
    assert float(losses.l1(tf.constant([1.0, -2.0]), tf.constant([0.5, 1.0]))) == 1.75


def test_audible_l1_counts_the_floor_a_tenth():
    target = np.array([[-1.0, -1.0, -0.8, 0.2]], np.float32)
    decoded = np.array([[-1.0, -0.9, -1.0, 0.1]], np.float32)
    # Weights by the louder of both, 0.1 at the floor and 1 from 0.4 above it on.
    expected = np.mean([0.0, (0.1 + 0.9 * 0.25) * 0.1, (0.1 + 0.9 * 0.5) * 0.2, 0.1])
    assert float(losses.audible_l1(target, decoded)) == pytest.approx(expected, rel=1e-5)


def test_multi_scale_distance_against_librosa():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 3, 8192)).astype(np.float32) * 0.1
    expected = 0.0
    for hop_size in HOP_SIZES:
        a, b = (
            np.abs(librosa.stft(x, n_fft=4 * hop_size, hop_length=hop_size, center=False))
            for x in (real, fake)
        )
        expected += np.log(np.abs(a - b).mean(axis=(1, 2))).mean()
    loss = losses.multi_scale_spectral_distance(real, fake, HOP_SIZES)
    assert float(loss) == pytest.approx(expected, abs=1e-3)


def test_multi_scale_distance_ignores_phase_and_falls_when_closer():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(1, 8192)).astype(np.float32) * 0.1
    noise = rng.normal(size=(1, 8192)).astype(np.float32) * 0.1
    distances = [
        float(losses.multi_scale_spectral_distance(real, real + gain * noise, HOP_SIZES))
        for gain in (1.0, 0.1, 0.0)
    ]
    assert distances[0] > distances[1] + 4 > distances[2] + 8
    inverted = losses.multi_scale_spectral_distance(real, -real, HOP_SIZES)
    assert float(inverted) == pytest.approx(distances[2], abs=1e-3)


@pytest.mark.parametrize("scale", [0.0, 1e-6])
def test_multi_scale_distance_is_safe_on_silence(scale):
    silence = tf.zeros((2, 8192))
    fake = tf.Variable(scale * tf.random.normal((2, 8192)))
    with tf.GradientTape() as tape:
        loss = losses.multi_scale_spectral_distance(silence, fake, HOP_SIZES)
    assert np.isfinite(float(loss))
    assert np.isfinite(tape.gradient(loss, fake).numpy()).all()
