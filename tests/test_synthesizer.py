"""Synthesis: windows and chunks are the whole, rows keep apart, conditioning goes on."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_model import random_autoencoder

from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning.controls import Beats, Constant
from musika_tf.config import NORMALISATIONS
from musika_tf.networks import coordinates
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.networks.synthesizer import Synthesizer

TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=NORMALISATIONS)
def config(request, tiny_config):
    """Without conditioning; an excerpt is 4 steps, an anchor stands every 32."""
    gan = dataclasses.replace(tiny_config.gan, normalisation=request.param)
    return dataclasses.replace(tiny_config, gan=gan)


@pytest.fixture(scope="module")
def synthesizer(config) -> Synthesizer:
    return random_synthesizer(config)


def random_synthesizer(config) -> Synthesizer:
    keras.utils.set_random_seed(0)
    return Synthesizer(config, autoencoder=random_autoencoder(config))


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


def line_of(config, anchors) -> np.ndarray:
    """Coordinates from anchor to anchor, held at both ends for as long as a context is."""
    steps, interval = np.arange(anchors.shape[1]), 2 * config.gan.seq_len
    context = config.gan.context_n_steps
    at = np.arange(-context, steps[-1] * interval + context) / interval
    rows = [[np.interp(at, steps, values) for values in np.transpose(row)] for row in anchors]
    return np.float32(rows).transpose(0, 2, 1)


def latents_of(synthesizer, anchors, style, conditioning=None):
    """Window after window, of different lengths; conditioning comes with its context."""
    gan, line = synthesizer.config.gan, line_of(synthesizer.config, anchors)
    n_steps, start, found = line.shape[1] - 2 * gan.context_n_steps, 0, []
    while start < n_steps:
        size = min(gan.coarsest_n_steps * (1 + len(found) % 3), n_steps - start)
        steps = slice(start, start + size + 2 * gan.context_n_steps)
        styles = tf.repeat(style[:, tf.newaxis], steps.stop - start, axis=1)
        given = None if conditioning is None else tf.constant(conditioning[:, steps])
        starts = tf.fill([len(line)], start)
        found.append(synthesizer.latents(tf.constant(line[:, steps]), styles, starts, given))
        start += size
    assert len(found) > 1
    return tf.concat(found, axis=1)


def test_windows_joined_equal_one_call(synthesizer, waveform, decode):
    anchors, style = draw(synthesizer.config, 2, 3)
    latents = latents_of(synthesizer, anchors, style)
    joined = in_chunks(synthesizer, decode, latents, n_excerpts=2)
    np.testing.assert_allclose(joined, waveform(anchors, style), rtol=0, atol=TOLERANCE)


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


# Conditioning


@pytest.fixture(scope="module")
def conditional(config, beats_config) -> Synthesizer:
    """Follows note density and a clock."""
    return random_synthesizer(dataclasses.replace(config, conditioning=beats_config.conditioning))


@pytest.fixture(scope="module")
def conditional_waveform(conditional):
    shape = conditional.config.gan
    return traced(conditional.waveform, (3, shape.anchor_depth), (2, shape.style_depth), (3, 2))


def draw_conditioning(config, n_steps) -> np.ndarray:
    """Two rows with a context: a density held at both ends, a clock that never stops."""
    context = config.gan.context_n_steps
    density = np.random.default_rng(0).uniform(size=(2, n_steps))
    density = np.pad(density, [(0, 0), (context, context)], "edge")
    steps = np.arange(-context, n_steps + context)
    beats = np.array([[0.3], [7.1]]) + steps * np.array([[0.41], [0.27]])
    return np.stack([density, beats], axis=-1)


@pytest.mark.parametrize("bar", [4.0, np.inf], ids=["whole bars taken away", "counting on"])
def test_conditioning_goes_on_beyond_the_ends(conditional, conditional_waveform, decode, bar):
    config = conditional.config
    anchors, style = draw(config, 2, 3)
    n_steps, context = 4 * config.gan.seq_len, config.gan.context_n_steps
    conditioning = draw_conditioning(config, n_steps)
    latents = latents_of(conditional, anchors, style, np.float32(conditioning))
    joined = in_chunks(conditional, decode, latents, n_excerpts=4)
    given = conditioning[:, context : context + n_steps]
    given[..., 1] = np.fmod(given[..., 1], bar)
    whole = conditional_waveform(anchors, style, tf.constant(given, tf.float32))
    # The clock's float32 is another one after whole bars were taken away.
    np.testing.assert_allclose(joined, whole, rtol=0, atol=5 * TOLERANCE)
    with_stop = np.float32(np.pad(given, [(0, 0), (context, context), (0, 0)], "edge"))
    stopped = latents_of(conditional, anchors, style, with_stop) - latents
    assert (np.abs(stopped).max() > 1e-3) == (config.gan.normalisation == "step")


def test_conditioning_changes_what_is_near(conditional, conditional_waveform):
    config = conditional.config
    gan, audio = config.gan, config.audio
    anchors, style = draw(config, 2, 6)
    n_steps = 10 * gan.seq_len
    conditioning = draw_conditioning(config, n_steps)[:, gan.context_n_steps :][:, :n_steps]
    before = conditional_waveform(anchors, style, tf.constant(conditioning, tf.float32)).numpy()
    changed = np.arange(4 * gan.seq_len, 5 * gan.seq_len)
    conditioning[1, changed, 0] = 1.0 - conditioning[1, changed, 0]
    after = conditional_waveform(anchors, style, tf.constant(conditioning, tf.float32)).numpy()
    change = np.abs(after - before).max(axis=-1)
    at = changed[[0, -1]] + [0, 1]
    assert change[1, slice(*(at * config.latent_hop_size))].max() > 1e-4
    # Excerpts are decoded as a whole, and their last frames reach into the next one.
    begin, end = (at + [-gan.context_n_steps, gan.context_n_steps]) * config.latent_hop_size
    change[1, begin : end + audio.overlap_size] = 0.0
    assert change.max() < 1e-6


def test_constants_are_held_and_beats_counted(conditional):
    """The latents of `generate` are those of conditioning as controls make it."""
    config = conditional.config
    controls = (Constant(0.3), Beats(Constant(131.0)))
    seed, truncation = tf.constant([[5, 2]]), tf.constant([2.0])
    generate_latents = tf.function(conditional.generate_latents)
    found, n_samples = generate_latents(
        seed, tf.constant([4.0]), truncation, tf.constant([[0.3, 131.0]])
    )
    assert n_samples == 4 * 22_050 and found.shape[1] * config.latent_hop_size >= n_samples
    context = config.gan.context_n_steps
    size = found.shape[1] + 2 * context
    style = coordinates.draw_style(seed, config.gan.style_depth, truncation)
    expected = conditional.latents(
        coordinates.draw_line(config.gan, seed, -context, size, truncation),
        tf.repeat(style[:, tf.newaxis], size, axis=1),
        tf.zeros([1], tf.int32),
        tf.constant(controls_lib.values(controls, config, (5, 2), -context, size)[None]),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


class HandMadeAutoencoder(Autoencoder):
    """No networks: latents are the amplitude of a constant spectrum."""

    def __init__(self, config):
        self.config, self.networks = config, {}

    def decode_spectrum(self, latents):
        frames = tf.repeat(latents[..., :1], self.config.level2_ratio, axis=1)
        tone = tf.one_hot(10, self.config.audio.n_bins)
        return tf.cast(frames * tone, tf.complex64)


def test_waveform_is_limited_and_overlap_is_not(tiny_config):
    synthesizer = Synthesizer(tiny_config, keras.Sequential(), HandMadeAutoencoder(tiny_config))
    shape = (1, tiny_config.excerpt_n_latents, tiny_config.stereo_latent_depth)
    (quiet, quiet_overlap), (loud, loud_overlap) = (
        [x.numpy() for x in synthesizer.decode(tf.fill(shape, level), synthesizer.no_overlap(1))]
        for level in (500.0, 5e4)
    )
    assert np.abs(quiet).max() < 1.0
    np.testing.assert_allclose(loud, np.clip(100.0 * quiet, -1.0, 1.0), atol=1e-4)
    np.testing.assert_allclose(loud_overlap, 100.0 * quiet_overlap, rtol=1e-4, atol=1e-4)
    assert np.abs(loud_overlap).max() > 1.0
