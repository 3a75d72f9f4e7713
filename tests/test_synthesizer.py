"""Synthesis: chunks equal the whole, rows and channels keep apart, runs load as they were saved."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_model import random_autoencoder

from musika_tf.networks import coordinates
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.networks.synthesizer import Synthesizer

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def synthesizer(tiny_config) -> Synthesizer:
    keras.utils.set_random_seed(0)
    return Synthesizer(tiny_config, autoencoder=random_autoencoder(tiny_config))


def traced(function, *ranks):
    """The function as one graph for all sizes, the last one fixed."""
    specs = [tf.TensorSpec([*[None] * (rank - 1), size]) for rank, size in ranks]
    return tf.function(function, input_signature=specs, autograph=False)


@pytest.fixture(scope="module")
def waveform(synthesizer):
    shape = synthesizer.config.gan
    return traced(synthesizer.waveform, (3, shape.anchor_depth), (2, shape.style_depth))


@pytest.fixture(scope="module")
def decode(synthesizer):
    return traced(synthesizer.decode, (3, synthesizer.config.stereo_latent_depth), (3, 2))


def draw(config, batch_size, n_anchors, seed=0):
    rng = np.random.default_rng(seed)
    anchors = rng.normal(size=(batch_size, n_anchors, config.gan.anchor_depth))
    style = rng.normal(size=(batch_size, config.gan.style_depth))
    return tf.constant(anchors, tf.float32), tf.constant(style, tf.float32)


def in_chunks(synthesizer, decode, latents, n_excerpts):
    """Decodes latents so many excerpts at a time; the last chunk may be shorter."""
    overlap, chunks = synthesizer.no_overlap(latents.shape[0]), []
    step = n_excerpts * synthesizer.config.excerpt_n_latents
    for start in range(0, latents.shape[1], step):
        chunk, overlap = decode(latents[:, start : start + step], overlap)
        chunks.append(chunk)
    return tf.concat(chunks, axis=1)


@pytest.mark.parametrize("n_anchors", [2, 4])
def test_waveform_has_two_patches_an_anchor(synthesizer, waveform, n_anchors):
    config = synthesizer.config
    made = waveform(*draw(config, 2, n_anchors)).numpy()
    n_samples = (n_anchors - 1) * 2 * config.gan.seq_len * config.latent_hop_size
    assert made.shape == (2, n_samples, 2)
    assert np.all(np.isfinite(made))
    assert made.std() > 1e-3


def test_pairs_of_anchors_joined_equal_one_call(synthesizer, waveform, decode):
    anchors, style = draw(synthesizer.config, 2, 3)
    overlap, chunks = synthesizer.no_overlap(2), []
    for start in range(anchors.shape[1] - 1):
        pair = coordinates.patches(anchors[:, start : start + 2], synthesizer.config.gan.seq_len)
        for patch in tf.unstack(pair, axis=1):
            chunk, overlap = decode(synthesizer.latents(patch, style), overlap)
            chunks.append(chunk)
    np.testing.assert_allclose(
        tf.concat(chunks, axis=1), waveform(anchors, style), rtol=0, atol=TOLERANCE
    )


def latents_of(synthesizer, anchors, style):
    patches = coordinates.patches(anchors, synthesizer.config.gan.seq_len)
    latents = [synthesizer.latents(patch, style) for patch in tf.unstack(patches, axis=1)]
    return tf.concat(latents, axis=1)


@pytest.mark.parametrize("n_excerpts", [1, 2, 3])
def test_chunks_of_excerpts_equal_one_call(synthesizer, decode, n_excerpts):
    latents = latents_of(synthesizer, *draw(synthesizer.config, 1, 2))
    whole, _ = decode(latents, synthesizer.no_overlap(1))
    streamed = in_chunks(synthesizer, decode, latents, n_excerpts)
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=TOLERANCE)


def test_forgetting_the_overlap_is_noticed(synthesizer, waveform, decode):
    anchors, style = draw(synthesizer.config, 1, 2)
    latents = latents_of(synthesizer, anchors, style)
    half = latents.shape[1] // 2
    forgetful = decode(latents[:, half:], synthesizer.no_overlap(1))[0]
    n_samples = forgetful.shape[1]
    whole = waveform(anchors, style)[:, n_samples:]
    assert np.max(np.abs(forgetful - whole)) > 100 * TOLERANCE


def test_row_does_not_depend_on_its_batch(synthesizer, waveform):
    anchors, style = draw(synthesizer.config, 3, 2)
    together = waveform(anchors, style)
    for row in range(3):
        alone = waveform(anchors[row : row + 1], style[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def conditional(conditional_config) -> Synthesizer:
    keras.utils.set_random_seed(0)
    return Synthesizer(conditional_config, autoencoder=random_autoencoder(conditional_config))


@pytest.fixture(scope="module")
def conditional_waveform(conditional):
    shape = conditional.config.gan
    return traced(conditional.waveform, (3, shape.anchor_depth), (2, shape.style_depth), (3, 2))


def draw_conditioning(batch_size, n_steps) -> tf.Tensor:
    values = np.random.default_rng(0).uniform((0, 110), (1, 170), (batch_size, n_steps, 2))
    return tf.constant(values, tf.float32)


def test_conditional_patches_joined_equal_one_call(conditional, conditional_waveform):
    config = conditional.config
    seq_len = config.gan.seq_len
    anchors, style = draw(config, 2, 3)
    conditioning = draw_conditioning(2, 4 * seq_len)
    overlap, chunks = conditional.no_overlap(2), []
    patches = tf.unstack(coordinates.patches(anchors, seq_len), axis=1)
    for patch, part in zip(patches, tf.split(conditioning, 4, axis=1), strict=True):
        chunk, overlap = conditional.decode(conditional.latents(patch, style, part), overlap)
        chunks.append(chunk)
    joined, whole = tf.concat(chunks, axis=1), conditional_waveform(anchors, style, conditioning)
    np.testing.assert_allclose(joined, whole, rtol=0, atol=TOLERANCE)


def test_conditioning_of_a_patch_changes_that_patch(conditional, conditional_waveform):
    config = conditional.config
    anchors, style = draw(config, 2, 3)
    conditioning = draw_conditioning(2, 4 * config.gan.seq_len).numpy()
    before = conditional_waveform(anchors, style, conditioning).numpy()
    patch = np.s_[1, 2 * config.gan.seq_len : 3 * config.gan.seq_len, 0]
    conditioning[patch] = 1.0 - conditioning[patch]
    after = conditional_waveform(anchors, style, conditioning).numpy()
    change = np.abs(after - before).max(axis=-1)
    begin, end = (n * config.patch_n_samples for n in (2, 3))
    assert change[1, begin:end].max() > 1e-4
    # The last frames of a patch reach overlap_size samples into the next one.
    change[1, begin : end + config.audio.overlap_size] = 0.0
    assert change.max() < 1e-6


def test_same_inputs_give_the_same_samples(synthesizer, waveform):
    inputs = draw(synthesizer.config, 1, 2)
    np.testing.assert_array_equal(waveform(*inputs), waveform(*inputs))


class HandMadeAutoencoder(Autoencoder):
    """No networks: a latent's first number is the amplitude of a constant spectrum."""

    def __init__(self, config):
        self.config, self.networks = config, {}

    def decode_spectrum(self, latents):
        frames = tf.repeat(latents[..., :1], self.config.level2_ratio, axis=1)
        tone = tf.one_hot(10, self.config.audio.n_bins)
        return tf.cast(frames * tone, tf.complex64)


def hand_made_decode(config, left, right, n_excerpts=1):
    synthesizer = Synthesizer(config, keras.Sequential(), HandMadeAutoencoder(config))
    depth, k = config.autoencoder.level2_latent_depth, n_excerpts * config.excerpt_n_latents
    latents = np.zeros((2, k, 2 * depth), np.float32)
    # The second row is silent.
    latents[0, :, 0], latents[0, :, depth] = left, right
    return [x.numpy() for x in synthesizer.decode(latents, synthesizer.no_overlap(2))]


def test_left_channels_come_first(tiny_config):
    waveform, overlap = hand_made_decode(tiny_config, left=500.0, right=0.0)
    assert np.abs(waveform[0, :, 0]).max() > 0.1
    assert np.abs(overlap[0, :, 0]).max() > 0.01
    for silent in (waveform[0, :, 1], overlap[0, :, 1], waveform[1], overlap[1]):
        assert not silent.any()


def test_channels_are_decoded_alike(tiny_config):
    waveform, overlap = hand_made_decode(tiny_config, left=600.0, right=-300.0)
    np.testing.assert_allclose(waveform[..., 0], -2.0 * waveform[..., 1], atol=1e-6)
    np.testing.assert_allclose(overlap[..., 0], -2.0 * overlap[..., 1], atol=1e-6)


def test_waveform_is_limited_and_overlap_is_not(tiny_config):
    quiet, quiet_overlap = hand_made_decode(tiny_config, left=500.0, right=500.0)
    loud, loud_overlap = hand_made_decode(tiny_config, left=5e4, right=5e4)
    assert np.abs(quiet).max() < 1.0
    np.testing.assert_allclose(loud, np.clip(100.0 * quiet, -1.0, 1.0), atol=1e-4)
    np.testing.assert_allclose(loud_overlap, 100.0 * quiet_overlap, rtol=1e-4, atol=1e-4)
    assert np.abs(loud_overlap).max() > 1.0
