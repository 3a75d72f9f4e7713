"""Onset detectors, on clicks at known times."""

import importlib.util

import numpy as np
import pytest
import soundfile

from musika_tf.conditioning import onsets
from musika_tf.conditioning.labels import Labels
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import Config

has_madmom = importlib.util.find_spec("madmom") is not None
needs_madmom = pytest.mark.skipif(
    not has_madmom, reason="madmom is not installed: pip install '.[madmom]'"
)
detectors = pytest.mark.parametrize(
    "detector", [pytest.param("madmom", marks=needs_madmom), "librosa"]
)
TIMES_SECONDS = 0.2 + np.cumsum(np.random.default_rng(0).uniform(0.15, 0.6, 24))


def clicks(times_seconds, sample_rate_hz, amplitude=0.3, duration_seconds=None) -> np.ndarray:
    """Bursts of noise that die away in 20 ms, each beginning at the sample nearest to its time."""
    rng = np.random.default_rng(1)
    n_samples = round((duration_seconds or times_seconds[-1] + 1) * sample_rate_hz)
    waveform = np.zeros(n_samples, np.float32)
    n_click = round(0.1 * sample_rate_hz)
    decay = np.exp(-np.arange(n_click) / (0.02 * sample_rate_hz))
    for seconds in times_seconds:
        begin = round(seconds * sample_rate_hz)
        waveform[begin : begin + n_click] += amplitude * rng.normal(size=n_click) * decay
    return waveform


@detectors
@pytest.mark.parametrize("sample_rate_hz", [22_050, 44_100])
@pytest.mark.parametrize("amplitude", [0.3, 0.02])
def test_every_click_is_found_in_its_place(detector, sample_rate_hz, amplitude):
    waveform = clicks(TIMES_SECONDS, sample_rate_hz, amplitude)
    found = onsets.detect_onsets(waveform, sample_rate_hz, detector)
    assert found.dtype == np.float64
    assert len(found) == len(TIMES_SECONDS)
    np.testing.assert_allclose(found, TIMES_SECONDS, atol=0.0135)
    assert abs(np.mean(found - TIMES_SECONDS)) < 0.01


@detectors
def test_regular_clicks_are_found_within_10_ms(detector):
    times = 0.2 + 0.5 * np.arange(20)
    found = onsets.detect_onsets(clicks(times, 22_050), 22_050, detector)
    np.testing.assert_allclose(found, times, atol=0.01 + 1e-9)


@detectors
def test_a_click_lands_in_its_latent_step(detector):
    """From the sample in the file to the density of the latent step that holds it."""
    config = Config()
    centres = centres_seconds(config, 0, 56, config.audio.overlap_size)
    for number in (7, 20, 41):
        waveform = clicks([centres[number]], 22_050, duration_seconds=10)
        found = onsets.detect_onsets(waveform, 22_050, detector)
        labels = Labels("note_density", ("time_seconds",), {"a": found[:, None]}, "a test")
        values = labels.values("a", centres, 20.0)
        assert values.argmax() == number
        # The kernel is even, so a click in the middle of its step is given to both sides alike.
        np.testing.assert_allclose(values[number - 2], values[number + 2], atol=0.03)


@detectors
@pytest.mark.parametrize("n_samples", [0, 1, 100, 22_050])
def test_silence_has_no_onset(detector, n_samples):
    found = onsets.detect_onsets(np.zeros(n_samples, np.float32), 22_050, detector)
    assert found.shape == (0,)


@detectors
def test_noise_has_hardly_an_onset(detector):
    noise = 0.1 * np.random.default_rng(0).normal(size=5 * 22_050).astype(np.float32)
    assert len(onsets.detect_onsets(noise, 22_050, detector)) <= 3


@detectors
def test_loud_events_do_not_hide_soft_ones(detector):
    soft = clicks(TIMES_SECONDS, 22_050, amplitude=0.01)
    loud = clicks([TIMES_SECONDS[-1] + 2, TIMES_SECONDS[-1] + 2.5], 22_050, amplitude=0.5)
    loud[: len(soft)] += soft
    found = onsets.detect_onsets(loud, 22_050, detector)
    assert len(found) == len(TIMES_SECONDS) + 2


@detectors
def test_a_tone_that_swells_and_fades_is_at_most_one_onset(detector):
    seconds = np.arange(5 * 22_050) / 22_050
    tone = 0.2 * np.sin(2 * np.pi * 440 * seconds) * np.hanning(len(seconds))
    assert len(onsets.detect_onsets(tone.astype(np.float32), 22_050, detector)) <= 1


@needs_madmom
def test_pieces_of_a_long_file_give_what_the_whole_gives(monkeypatch):
    network, _ = onsets._madmom_processors()
    waveform = clicks(TIMES_SECONDS, 44_100)
    whole = onsets._activations(network, waveform)
    monkeypatch.setattr(onsets, "_PIECE_N_FRAMES", 137)
    pieces = onsets._activations(network, waveform)
    assert len(whole) == -(-len(waveform) // 441)
    np.testing.assert_allclose(pieces, whole, atol=1e-5)
    assert whole.max() > 0.9


@needs_madmom
def test_madmom_reads_files_alike(tmp_path):
    _, pick_peaks = onsets._madmom_processors()
    from madmom.features.onsets import CNNOnsetProcessor

    waveform = np.round(clicks(TIMES_SECONDS, 44_100) * 32_768).clip(-32_768, 32_767) / 32_768
    soundfile.write(tmp_path / "a.wav", waveform, 44_100)
    expected = pick_peaks(CNNOnsetProcessor()(str(tmp_path / "a.wav")))
    found = onsets.detect_onsets(waveform.astype(np.float32), 44_100, "madmom")
    np.testing.assert_array_equal(found, expected)


def test_without_madmom(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert onsets.installed_detector() == "librosa"
    waveform = clicks(TIMES_SECONDS, 22_050)
    assert len(onsets.detect_onsets(waveform, 22_050)) == len(TIMES_SECONDS)
    with pytest.raises(ValueError, match=r"pip install '\.\[madmom\]'.*librosa"):
        onsets.detect_onsets(waveform, 22_050, "madmom")


@needs_madmom
def test_with_madmom():
    assert onsets.installed_detector() == "madmom"


def test_wrong_questions():
    with pytest.raises(ValueError, match="onset detector 'aubio' must be madmom or librosa"):
        onsets.detect_onsets(np.zeros(9, np.float32), 22_050, "aubio")
    with pytest.raises(ValueError, match=r"shape \(9, 2\); onsets are detected in mono audio"):
        onsets.detect_onsets(np.zeros((9, 2), np.float32), 22_050, "librosa")
