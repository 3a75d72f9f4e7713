"""Files to latents and back: in chunks, in place, channel by channel."""

import numpy as np
import pytest

from musika_tf import spectral
from musika_tf.networks import codec as codec_lib


def noise(n_samples) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=(n_samples, 2)) * 0.1).astype(np.float32)


@pytest.mark.parametrize("chunk_n_excerpts", [1, 3])
def test_chunks_do_not_change_anything(codec, monkeypatch, chunk_n_excerpts):
    waveform = noise(7 * 16_384 + 123)
    latents = codec.encode(waveform)
    decoded = codec.decode(latents)
    monkeypatch.setattr(codec_lib, "CHUNK_N_EXCERPTS", chunk_n_excerpts)
    np.testing.assert_allclose(codec.encode(waveform), latents, atol=1e-5)
    np.testing.assert_allclose(codec.decode(latents), decoded, atol=1e-5)


@pytest.mark.parametrize("n_samples", [1, 15_616, 15_617, 40_000])
def test_lengths(codec, tiny_config, n_samples):
    latents = codec.encode(noise(n_samples))
    assert len(latents) == codec_lib.n_latents_of(n_samples, tiny_config)
    # Whole excerpts, and no more than are needed to cover the file after the leading zeros.
    n_excerpts = len(latents) / tiny_config.excerpt_n_latents
    assert n_excerpts == np.ceil((n_samples + 768) / 16_384)
    assert codec.decode(latents, n_samples).shape == (n_samples, 2)


def test_a_decoder_that_keeps_the_spectrum_gives_the_file_back_in_place(codec, monkeypatch):
    """Alignment: with lossless networks the file comes back sample for sample, ends included."""
    waveform = noise(40_000)
    spectra = {}

    def encode(padded):
        spectra["complex"] = spectral.stft(padded, 1024, 256)
        return np.zeros((2, padded.shape[1] // 4096, 16), np.float32)

    def decode_spectrum(latents):
        del latents
        return spectra["complex"]

    monkeypatch.setattr(codec, "_encode", encode)
    monkeypatch.setattr(codec.autoencoder, "decode_spectrum", decode_spectrum)
    monkeypatch.setattr(codec, "_decode", codec.autoencoder.decode)
    decoded = codec.decode(codec.encode(waveform), len(waveform))
    np.testing.assert_allclose(decoded, waveform, atol=1e-5)


def test_left_and_right_are_encoded_on_their_own(codec, autoencoder):
    waveform = noise(20_000)
    latents = codec.encode(waveform)
    swapped = codec.encode(waveform[:, ::-1])
    np.testing.assert_allclose(latents[:, :16], swapped[:, 16:], atol=1e-6)
    assert np.abs(latents[:, :16] - latents[:, 16:]).max() > 1e-3
