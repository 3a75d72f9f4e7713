"""STFT, inverse STFT and scaled log magnitudes against librosa, scipy and formulas."""

import librosa
import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from musika_tf import spectral

SIZES = [(1024, 256), (2048, 512), (1536, 256)]


@pytest.fixture
def waveform() -> np.ndarray:
    return np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.2


@pytest.mark.parametrize("window_size, hop_size", SIZES)
def test_stft_is_librosas_without_centring(waveform, window_size, hop_size):
    expected = librosa.stft(waveform, n_fft=window_size, hop_length=hop_size, center=False).T
    spectrum = spectral.stft(waveform, window_size, hop_size).numpy()
    assert spectrum.shape == expected.shape
    np.testing.assert_allclose(spectrum, expected, atol=1e-4)
    assert len(spectrum) == spectral.n_frames_of(len(waveform), window_size, hop_size)


@pytest.mark.parametrize("window_size, hop_size", [(1024, 256), (2048, 512)])
def test_inverse_stft_is_scipys_where_frames_are_complete(waveform, window_size, hop_size):
    spectrum = spectral.stft(waveform, window_size, hop_size).numpy()
    rebuilt = spectral.inverse_stft(spectrum, window_size, hop_size).numpy()
    window = scipy.signal.get_window("hann", window_size)
    _, expected = scipy.signal.istft(
        spectrum.T / window.sum(),
        window=window,
        nperseg=window_size,
        noverlap=window_size - hop_size,
        boundary=False,
    )
    assert len(rebuilt) == (len(spectrum) - 1) * hop_size + window_size
    inner = slice(window_size - hop_size, len(rebuilt) - (window_size - hop_size))
    np.testing.assert_allclose(rebuilt[inner], expected[: len(rebuilt)][inner], atol=1e-4)
    np.testing.assert_allclose(rebuilt[inner], waveform[: len(rebuilt)][inner], atol=1e-5)


def test_inverse_of_a_modified_spectrum_is_the_least_squares_one(waveform):
    """Also for spectra that no waveform has, as decoders make them."""
    spectrum = with_random_phases(spectral.stft(waveform, 1024, 256).numpy())
    expected = librosa.istft(spectrum.T, hop_length=256, n_fft=1024, center=False)
    rebuilt = spectral.inverse_stft(spectrum, 1024, 256).numpy()
    np.testing.assert_allclose(rebuilt[768:-768], expected[768:-768], atol=1e-4)


def with_random_phases(spectrum) -> np.ndarray:
    turns = np.random.default_rng(1).uniform(0, 1, spectrum.shape)
    changed = (spectrum * np.exp(2j * np.pi * turns)).astype(np.complex64)
    changed[:, [0, -1]] = changed[:, [0, -1]].real
    return changed


def griffin_lim_step(spectrum, magnitudes, window_size, hop_size) -> np.ndarray:
    """By the normal equations: the waveform whose windowed frames come nearest in all samples."""
    window = scipy.signal.get_window("hann", window_size)
    frames = np.fft.irfft(spectrum, window_size)
    n_samples = (len(frames) - 1) * hop_size + window_size
    weighted, weights = np.zeros(n_samples), np.zeros(n_samples)
    for index, frame in enumerate(frames):
        weighted[index * hop_size :][:window_size] += window * frame
        weights[index * hop_size :][:window_size] += window**2
    waveform = weighted / np.maximum(weights, 1e-3)
    slices = [waveform[i * hop_size :][:window_size] for i in range(len(frames))]
    found = np.fft.rfft(window * np.array(slices))
    # The asked magnitude, less where the waveform has less than a tenth of it.
    trust = np.sqrt(1.01 * np.abs(found) ** 2 / (np.abs(found) ** 2 + 0.01 * magnitudes**2 + 1e-20))
    return magnitudes * trust * np.exp(1j * np.angle(found))


@pytest.mark.parametrize("n_steps", [1, 3])
def test_consistency_steps_are_griffin_and_lims(waveform, n_steps):
    spectrum = with_random_phases(spectral.stft(waveform[:9000], 1024, 256).numpy())
    expected = spectrum.astype(np.complex128)
    for _ in range(n_steps):
        expected = griffin_lim_step(expected, np.abs(spectrum), 1024, 256)
    found = spectral.consistent(spectrum, 1024, 256, n_steps).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert np.abs(found - spectrum).mean() > 1.0
    assert np.all(np.abs(found) <= 1.006 * np.abs(spectrum) + 1e-2)
    assert np.median(np.abs(found) / np.abs(spectrum)) > 0.95


def test_each_consistency_step_brings_the_spectrum_nearer_to_a_waveforms(waveform):
    spectrum = with_random_phases(spectral.stft(waveform, 1024, 256).numpy())
    distances = []
    for n_steps in range(4):
        asked = spectral.consistent(spectrum, 1024, 256, n_steps)
        made = spectral.stft(spectral.inverse_stft(asked, 1024, 256), 1024, 256)
        distances.append(np.abs(made - asked)[3:-3].mean())
    assert distances == sorted(distances, reverse=True)
    assert distances[3] < 0.8 * distances[0]


def test_a_waveforms_own_spectrum_is_consistent_already(waveform):
    spectrum = spectral.stft(waveform, 1024, 256).numpy()
    found = spectral.consistent(spectrum, 1024, 256, 1).numpy()
    np.testing.assert_allclose(found[1:-1], spectrum[1:-1], atol=1e-3)
    # Of the outermost samples, under next to nothing of one window, a little is lost.
    np.testing.assert_allclose(found, spectrum, atol=0.1)
    np.testing.assert_array_equal(spectral.consistent(spectrum, 1024, 256, 0), spectrum)


def test_consistency_of_silence_has_finite_gradients():
    parts = tf.zeros((2, 8, 513))
    with tf.GradientTape() as tape:
        tape.watch(parts)
        found = spectral.consistent(tf.complex(parts[0], parts[1]), 1024, 256, 2)
        total = tf.reduce_sum(spectral.power(found))
    assert not np.abs(found).any()
    assert np.isfinite(tape.gradient(total, parts).numpy()).all()


def test_log_magnitude_by_formula_and_back(waveform):
    spectrum = spectral.stft(waveform, 1024, 256)
    scaled = spectral.log_magnitude(spectrum).numpy()
    expected = np.log(np.maximum(np.abs(spectrum.numpy()) ** 2, np.exp(-10.0))) / 10.0
    np.testing.assert_allclose(scaled, expected, atol=1e-5)
    magnitudes = spectral.magnitude_from_log(scaled).numpy()
    audible = np.abs(spectrum.numpy()) > np.exp(-5.0)
    assert audible.mean() > 0.99
    np.testing.assert_allclose(magnitudes[audible], np.abs(spectrum)[audible], rtol=1e-4)


def test_scale_spans_silence_to_full_scale():
    seconds = np.arange(22_050) / 22_050
    sine = np.sin(2 * np.pi * 1000.0 * seconds).astype(np.float32)
    assert spectral.log_spectrogram(sine, 1024, 256).numpy().max() == pytest.approx(1.1, abs=0.02)
    silence = spectral.log_spectrogram(np.zeros(4096, np.float32), 1024, 256).numpy()
    np.testing.assert_allclose(silence, -1.0, atol=1e-6)


@pytest.mark.parametrize("window_size", [1024, 2048])
def test_the_loudest_bin_is_a_sine_of_that_level(window_size):
    n = np.arange(8 * window_size)
    sine = 10 ** (-5 / 20) * np.sin(2 * np.pi * 50 / window_size * n).astype(np.float32)
    found = spectral.log_spectrogram(sine, window_size, window_size // 4).numpy().max()
    assert spectral.loudest_log_magnitude(window_size) == pytest.approx(found, abs=1e-4)


def test_magnitudes_beyond_the_ceiling_are_cut():
    loudest = spectral.magnitude_from_log(tf.constant([1.5, 2.0, 1e6])).numpy()
    np.testing.assert_allclose(loudest, np.exp(7.5), rtol=1e-5)


@pytest.mark.parametrize("view", [spectral.magnitude, spectral.log_magnitude])
def test_gradients_are_finite_in_silence(view):
    silence = tf.zeros((4096,))
    with tf.GradientTape() as tape:
        tape.watch(silence)
        total = tf.reduce_sum(view(spectral.stft(silence, 1024, 256)))
    assert np.isfinite(tape.gradient(total, silence).numpy()).all()
