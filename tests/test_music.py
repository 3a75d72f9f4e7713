"""What can be measured of music, against what is known of the signals."""

from __future__ import annotations

import numpy as np
import pytest

from musika_tf.evaluation import music

RATE_HZ = 22_050


def seconds_of(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


# Waveforms


def test_a_sine_measures_as_it_should():
    """1 kHz at half of full scale on the left, the opposite on the right, then silence."""
    sine = 0.5 * np.sin(2 * np.pi * 1000 * seconds_of(3.0))
    sine = np.concatenate([sine, np.zeros(3 * RATE_HZ)])
    metrics = music.waveform_metrics(np.stack([sine, -sine], 1).astype(np.float32), RATE_HZ)
    # Half of full scale, a sine's own factor, half of the time.
    assert metrics["rms_dbfs"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2) / np.sqrt(2)))
    assert metrics["peak"] == pytest.approx(0.5, abs=1e-3)
    assert metrics["clipped_share"] == 0.0
    assert metrics["silent_share"] == pytest.approx(0.5)
    # Silence, which has no spectrum, does not pull the means down.
    assert metrics["spectral_centroid_hz"] == pytest.approx(1000, rel=0.03)
    assert metrics["rolloff_hz"] == pytest.approx(1000, abs=3 * RATE_HZ / 2048)
    assert metrics["spectral_flatness"] < 1e-3
    assert metrics["channel_correlation"] == pytest.approx(-1.0)
    assert metrics["band_1000_db"] == pytest.approx(0.0, abs=0.01)
    assert max(metrics["band_63_db"], metrics["band_8000_db"]) < -50


def test_noise_fills_bands_by_their_width_and_clips():
    noise = np.random.default_rng(0).normal(size=(5 * RATE_HZ, 2)).astype(np.float32)
    clipped = np.clip(noise, -1.0, 1.0)
    metrics = music.waveform_metrics(clipped, RATE_HZ)
    # Beyond one standard deviation.
    assert metrics["clipped_share"] == pytest.approx(0.3173, abs=0.005)
    assert abs(metrics["channel_correlation"]) < 0.02
    # Of white noise the mean of all frequencies, and each band's share of them.
    assert metrics["spectral_centroid_hz"] == pytest.approx(RATE_HZ / 4, rel=0.02)
    assert metrics["rolloff_hz"] == pytest.approx(0.85 * RATE_HZ / 2, rel=0.02)
    for centre_hz in (500, 4000):
        share = centre_hz * (np.sqrt(2) - np.sqrt(0.5)) / (RATE_HZ / 2)
        wanted = 10 * np.log10(share)
        assert metrics[music.band_name(centre_hz)] == pytest.approx(wanted, abs=0.3)
    assert metrics["tempo_strength"] < 0.3


def test_clicks_have_their_rate_and_tempo():
    """A click every half second: 120 BPM."""
    waveform = np.zeros((12 * RATE_HZ, 2), np.float32)
    click = 0.5 * np.random.default_rng(0).normal(size=(400, 2))
    for begin in range(RATE_HZ // 4, len(waveform) - 400, RATE_HZ // 2):
        waveform[begin : begin + 400] = click
    metrics = music.waveform_metrics(waveform, RATE_HZ)
    assert metrics["onsets_per_second"] == pytest.approx(2.0, abs=0.01)
    assert metrics["tempo_bpm"] == pytest.approx(120.0, rel=0.02)
    assert 0.8 < metrics["tempo_strength"] <= 1.0


def test_silence_has_finite_metrics():
    metrics = music.waveform_metrics(np.zeros((2 * RATE_HZ, 2), np.float32), RATE_HZ)
    assert np.isfinite(list(metrics.values())).all()
    assert metrics["rms_dbfs"] == music.LEAST_DB and metrics["silent_share"] == 1.0
    assert metrics["onsets_per_second"] == metrics["tempo_bpm"] == metrics["tempo_strength"] == 0.0


# Latents and seams


def test_windows_of_latents():
    latents = np.random.default_rng(0).normal(size=(2, 7, 3))
    means = music.window_means(latents, 3)
    np.testing.assert_allclose(means[3], latents[1, 3:6].mean(axis=0))
    assert means.shape == (4, 3)


@pytest.mark.parametrize("planted", ["excerpt_ratio", "patch_ratio"])
def test_planted_seams_of_latents_are_found(tiny_config, planted):
    """Steps of 1 everywhere, of 3 where excerpts or patches meet."""
    excerpt, patch = tiny_config.excerpt_n_latents, tiny_config.gan.seq_len
    steps = np.arange(1, 3 * patch)
    is_patch = steps % patch == 0
    is_planted = is_patch if planted == "patch_ratio" else (steps % excerpt == 0) & ~is_patch
    line = np.cumsum(np.concatenate([[0.0], np.where(is_planted, 3.0, 1.0)]))
    latents = np.stack([line, -line], axis=1)[None]
    ratios = music.Grid.of_latents(tiny_config).ratios(music.latent_changes(latents))
    assert ratios == {"excerpt_ratio": 1.0, "patch_ratio": 1.0} | {planted: 3.0}


@pytest.mark.parametrize("first", [0, 3])
def test_a_planted_seam_of_a_waveform_is_found(tiny_config, first):
    """A tone that changes its pitch where patches meet, once."""
    audio = tiny_config.audio
    border = tiny_config.patch_n_samples - first * audio.hop_size + audio.overlap_size // 2
    times = seconds_of(2 * tiny_config.patch_n_samples / RATE_HZ)
    tones = [np.sin(2 * np.pi * hz * times) for hz in (440.0, 660.0)]
    noise = 1e-3 * np.random.default_rng(0).normal(size=len(times))
    tone = np.where(np.arange(len(times)) < border, *tones) + noise
    flux = music.spectral_flux(tone[:, None].astype(np.float32), audio)[None]
    ratios = music.Grid.of_frames(tiny_config).ratios(flux, first)
    assert ratios["patch_ratio"] > 1.3
    assert ratios["excerpt_ratio"] == pytest.approx(1.0, abs=0.05)
    # All of the change is inside what counts as the border.
    n_frames = tiny_config.patch_n_samples // audio.hop_size
    reach = audio.overlap_size // audio.hop_size
    inside = slice(n_frames - first - 1 - reach, n_frames - first + reach)
    assert reach * 2 + 1 == len(flux[0, inside])
    assert np.delete(flux[0], inside).max() < flux[0, inside].max() / 2


def test_no_border_no_ratio(tiny_config):
    changes = np.ones((1, tiny_config.gan.seq_len - 1))
    ratios = music.Grid.of_latents(tiny_config).ratios(changes)
    assert ratios == {"excerpt_ratio": 1.0, "patch_ratio": None}
