"""Autoencoder networks: sizes, independence of excerpts, streaming, phases."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from flags import system
from musika_tf import spectral
from musika_tf.config import N_CHANNELS
from musika_tf.networks.autoencoder import (
    Autoencoder,
    build_discriminator,
    join_channels,
    split_channels,
)
from musika_tf.networks.phases import direction_to_spectrum

# Measured once; in millions, of the paper: encoder 1 2, decoder 1 7.4, encoder 2 3, decoder 2 6.7.
# The constants of the principal paths count too.
PARAMETER_COUNTS = {
    "piano": {
        "encoder1": 1_740_546,
        "decoder1": 7_924_869,
        "encoder2": 2_781_986,
        "decoder2": 6_783_938,
    },
    "techno": {
        "encoder1": 1_740_546,
        "decoder1": 7_924_869,
        "encoder2": 2_756_930,
        "decoder2": 6_069_250,
    },
}
PAPER_MILLIONS = {"encoder1": 2.0, "decoder1": 7.4, "encoder2": 3.0, "decoder2": 6.7}


def noise(n_samples, batch_size=2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(batch_size, n_samples)) * 0.1).astype(np.float32)


@pytest.mark.parametrize("preset", PARAMETER_COUNTS)
def test_parameter_counts(preset, parse_flags):
    config = system.config(flag_values=parse_flags(f"--preset={preset}"))
    counts = {k: v.count_params() for k, v in Autoencoder(config).networks.items()}
    assert counts == PARAMETER_COUNTS[preset]
    for name, millions in PAPER_MILLIONS.items():
        assert counts[name] / 1e6 == pytest.approx(millions, rel=0.25), name


def test_encoding_a_whole_equals_encoding_its_excerpts(autoencoder, tiny_config):
    audio = tiny_config.audio
    waveform = noise(5 * audio.excerpt_n_samples + audio.overlap_size)
    whole = autoencoder.encode(waveform).numpy()
    assert whole.shape == (2, 5 * tiny_config.excerpt_n_latents, 16)
    pieces = [
        autoencoder.encode(waveform[:, start : start + audio.excerpt_n_samples + 768])
        for start in range(0, 5 * audio.excerpt_n_samples, audio.excerpt_n_samples)
    ]
    np.testing.assert_allclose(whole, np.concatenate(pieces, axis=1), atol=1e-5)


def test_a_latent_depends_on_its_own_samples_alone(autoencoder, tiny_config):
    audio, r = tiny_config.audio, tiny_config.latent_hop_size
    waveform = noise(audio.excerpt_n_samples + audio.overlap_size, 1)
    latents = autoencoder.encode(waveform).numpy()
    changed = waveform.copy()
    changed[:, r + audio.overlap_size : 2 * r] += 0.1
    difference = np.abs(autoencoder.encode(changed).numpy() - latents).max(axis=(0, 2))
    np.testing.assert_array_equal(difference > 0, [False, True, False, False])


def test_decoding_a_whole_equals_decoding_its_excerpts(autoencoder, tiny_config):
    latents = np.random.default_rng(0).uniform(-1, 1, (2, 12, 16)).astype(np.float32)
    pieces = [latents[:, i : i + 4] for i in (0, 4, 8)]
    for output in (0, 1):
        whole = autoencoder.decode1(autoencoder.decode2(latents))[output]
        parts = [autoencoder.decode1(autoencoder.decode2(piece))[output] for piece in pieces]
        np.testing.assert_allclose(whole, np.concatenate(parts, axis=1), atol=1e-5)
    # Consistency steps magnify rounding where a bin holds next to nothing: nobody hears it.
    whole = autoencoder.decode_spectrum(latents)
    parts = np.concatenate([autoencoder.decode_spectrum(piece) for piece in pieces], axis=1)
    np.testing.assert_allclose(whole, parts, atol=1e-3)
    waveforms = (autoencoder.inverse_stft(spectrum) for spectrum in (whole, parts))
    np.testing.assert_allclose(*waveforms, atol=1e-6)


@pytest.mark.parametrize("chunk_n_excerpts", [1, 2, 3])
def test_streaming_equals_one_call(autoencoder, tiny_config, chunk_n_excerpts):
    rng = np.random.default_rng(0)
    latents = rng.uniform(-1, 1, (2, 24, 2 * 16)).astype(np.float32)
    start = np.zeros((2, tiny_config.audio.overlap_size, N_CHANNELS), np.float32)
    whole, rest = autoencoder.decode(latents, start)
    assert whole.shape == (2, 24 * tiny_config.latent_hop_size, N_CHANNELS)
    overlap, chunks, size = start, [], 4 * chunk_n_excerpts
    for first in range(0, 24, size):
        chunk, overlap = autoencoder.decode(latents[:, first : first + size], overlap)
        chunks.append(chunk)
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), whole, atol=1e-5)
    np.testing.assert_allclose(overlap, rest, atol=1e-5)


def test_each_channel_is_decoded_on_its_own(autoencoder, tiny_config):
    rng = np.random.default_rng(0)
    mono = rng.uniform(-1, 1, (2, 8, 16)).astype(np.float32)
    zeros = np.zeros((1, tiny_config.audio.overlap_size, N_CHANNELS), np.float32)
    stereo = np.concatenate([mono[:1], mono[1:]], axis=-1)
    waveform, _ = autoencoder.decode(stereo, zeros)
    for channel in range(N_CHANNELS):
        alone = autoencoder.inverse_stft(autoencoder.decode_spectrum(mono[channel : channel + 1]))
        np.testing.assert_allclose(waveform[0, :, channel], alone[0, :-768], atol=1e-5)


def test_channels_join_left_first_and_split_again():
    latents = np.arange(2 * 2 * 3 * 4, dtype=np.float32).reshape(2, 2, 3, 4)
    joined = join_channels(latents).numpy()
    np.testing.assert_array_equal(joined[..., :4], latents[:, 0])
    np.testing.assert_array_equal(joined[..., 4:], latents[:, 1])
    np.testing.assert_array_equal(split_channels(joined).numpy(), latents)


def test_phases_are_made_consistent_inside_each_excerpt(autoencoder, tiny_config):
    rng = np.random.default_rng(0)
    log_magnitudes = rng.uniform(-1, 1, (2, 128, 513)).astype(np.float32)
    directions = rng.normal(size=(2, 128, 2 * 513)).astype(np.float32)
    found = autoencoder.spectrum(log_magnitudes, directions)
    assert tiny_config.autoencoder.consistency_n_steps > 0
    n_steps = tiny_config.autoencoder.consistency_n_steps
    heard = np.minimum(log_magnitudes, spectral.loudest_log_magnitude(1024)).astype(np.float32)
    parts = direction_to_spectrum(heard, directions, spectral.carrier(1024, 256))
    asked = tf.complex(*parts)
    for part in (slice(0, 64), slice(64, 128)):
        expected = spectral.consistent(asked[:, part], 1024, 256, n_steps)
        np.testing.assert_allclose(found[:, part], expected, atol=1e-4)


def test_directions_give_the_phases_of_a_spectrum(tiny_config):
    audio = tiny_config.audio
    # Nothing moves these phases afterwards.
    sizes = dataclasses.replace(tiny_config.autoencoder, consistency_n_steps=0)
    autoencoder = Autoencoder(dataclasses.replace(tiny_config, autoencoder=sizes), n_levels=1)
    spectrum = autoencoder.stft(noise(audio.excerpt_n_samples + audio.overlap_size)).numpy()
    scale = np.random.default_rng(0).uniform(0.1, 10, spectrum.shape).astype(np.float32)
    directions = autoencoder.directions(spectrum) * np.concatenate([scale, scale], axis=-1)
    rebuilt = autoencoder.spectrum(spectral.log_magnitude(spectrum), directions)
    audible = np.abs(spectrum) > np.exp(-5.0)
    assert audible.mean() > 0.99
    np.testing.assert_allclose(rebuilt.numpy()[audible], spectrum[audible], atol=1e-3)


def test_direction_by_formula():
    """Phase = angle of (a, b), plus 2π·bin·frame·hop/window."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 8, 513)).astype(np.float32)
    directions = np.concatenate([a, b], axis=-1)
    carrier = spectral.carrier(1024, 256)
    parts = direction_to_spectrum(tf.zeros((1, 8, 513)), directions, carrier)
    spectrum = tf.complex(*parts).numpy()
    frames, bins = np.arange(8)[:, None], np.arange(513)
    phases = np.arctan2(b, a) + 2 * np.pi * bins * frames * 256 / 1024
    np.testing.assert_allclose(spectrum, np.exp(1j * phases), atol=1e-4)


def test_directions_of_a_steady_tone_change_slowly(autoencoder, tiny_config):
    """What the carrier is for: in the loudest bin at most an eighth turn from frame to frame."""
    seconds = np.arange(20_000) / tiny_config.audio.sample_rate_hz
    for pitch_hz in (220.0, 1000.0, 3333.0):
        tone = np.sin(2 * np.pi * pitch_hz * seconds)[None].astype(np.float32)
        spectrum = autoencoder.stft(tone)[:, :64]
        loudest = int(np.abs(spectrum[0, 0]).argmax())
        a, b = np.split(autoencoder.directions(spectrum).numpy()[0], 2, axis=-1)
        turns = np.diff(np.unwrap(np.arctan2(b, a)[:, loudest])) / (2 * np.pi)
        assert np.abs(turns).max() < 0.13


def test_direction_zero_is_silent_and_differentiable(autoencoder):
    directions = tf.zeros((1, 64, 2 * 513))
    with tf.GradientTape() as tape:
        tape.watch(directions)
        spectrum = autoencoder.spectrum(tf.zeros((1, 64, 513)), directions)
        total = tf.reduce_sum(tf.math.real(spectrum))
    assert np.abs(spectrum.numpy()).max() == 0.0
    assert np.isfinite(tape.gradient(total, directions).numpy()).all()


def test_discriminator_sees_every_frame_of_the_pair(tiny_config):
    discriminator = build_discriminator(tiny_config, 120)
    views = tf.Variable(tf.random.normal((1, 120, 769)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(discriminator(views))
    gradient = np.abs(tape.gradient(total, views).numpy())[0]
    assert (gradient.max(axis=1) > 0).all()


def test_no_bin_is_decoded_louder_than_a_recording(autoencoder):
    audio = autoencoder.config.audio
    shape = (1, audio.excerpt_n_frames, audio.n_bins)
    directions = tf.ones((*shape[:2], 2 * audio.n_bins))
    levels = [0.5, 0.99, 1.2, 5.0]
    loudest = [
        np.abs(tf.complex(*autoencoder.spectrum_as_decoded(tf.fill(shape, x), directions))).max()
        for x in levels
    ]
    expected = np.exp(5.0 * np.minimum(levels, spectral.loudest_log_magnitude(audio.window_size)))
    np.testing.assert_allclose(loudest, expected, rtol=1e-5)
