"""Tempo estimates: of click tracks, and as the package's own reader of files gives them."""

import numpy as np
import pytest
import soundfile

from musika_tf.conditioning import tempo

pytest.importorskip("tempocnn", reason="the extra `tempo` is not installed")


def click_track(tempo_bpm: float, seconds: float, sample_rate_hz: int = 22_050) -> np.ndarray:
    waveform = np.zeros(int(seconds * sample_rate_hz), np.float32)
    n_click = round(0.05 * sample_rate_hz)
    click = np.random.default_rng(0).normal(size=n_click) * np.exp(-np.arange(n_click) / 80)
    begins = np.arange(0.1, seconds - 0.1, 60 / tempo_bpm) * sample_rate_hz
    for begin in begins.astype(int):
        waveform[begin : begin + n_click] += 0.3 * click[: len(waveform) - begin]
    return waveform


@pytest.mark.parametrize("tempo_bpm", [120, 128, 140])
@pytest.mark.parametrize("sample_rate_hz", [22_050, 44_100])
def test_click_tracks(tempo_bpm, sample_rate_hz):
    waveform = click_track(tempo_bpm, 25, sample_rate_hz)
    estimate_bpm, confidence = tempo.estimate_tempo(waveform, sample_rate_hz)
    assert estimate_bpm == pytest.approx(tempo_bpm, abs=0.5)
    assert 0.85 < confidence <= 1.0


def test_it_is_what_the_package_reads_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # Where the package writes a copy of its network.
    from tempocnn import classifier, feature

    waveform = click_track(97.3, 30)
    soundfile.write(tmp_path / "a.wav", waveform, 22_050, "FLOAT")
    theirs = classifier.TempoClassifier("fcn")
    features = feature.read_features(str(tmp_path / "a.wav"), frames=256, hop_length=128)
    expected_bpm = theirs.estimate_tempo(features.copy(), interpolate=True)
    np.testing.assert_allclose(
        tempo.tempo_probabilities(waveform, 22_050), theirs.estimate(features).mean(axis=0),
        atol=1e-5,
    )  # fmt: skip
    assert tempo.estimate_tempo(waveform, 22_050)[0] == pytest.approx(expected_bpm, abs=1e-3)
    assert 90 < expected_bpm < 105


def test_confidence_is_the_probability_near_the_answer(monkeypatch):
    probabilities = np.full(256, 1e-4)
    probabilities[[68, 70, 71, 74, 75, 110]] = [0.05, 0.4, 0.1, 0.04, 0.06, 0.2]
    monkeypatch.setattr(tempo, "tempo_probabilities", lambda *_: probabilities)
    estimate_bpm, confidence = tempo.estimate_tempo(np.zeros(1), 22_050)
    # A parabola through (99, 1e-4), (100, 0.4) and (101, 0.1) has its top here.
    assert estimate_bpm == pytest.approx(100 + 0.5 * (1e-4 - 0.1) / (1e-4 - 0.8 + 0.1))
    # 4 % of 100.07 to each side: 97 to 104 BPM, of which four hold nearly nothing.
    assert confidence == pytest.approx(0.05 + 0.4 + 0.1 + 0.04 + 4e-4)


def test_windows_of_a_long_piece_are_averaged(monkeypatch):
    waveform = click_track(128, 40)
    expected = tempo.tempo_probabilities(waveform, 22_050)
    monkeypatch.setattr(tempo, "_BATCH_N_WINDOWS", 2)
    np.testing.assert_allclose(tempo.tempo_probabilities(waveform, 22_050), expected, atol=1e-6)
    assert expected.shape == (256,)
    assert expected.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("n_samples", [1, 22_050])
def test_silence_and_short_pieces_have_some_tempo(n_samples):
    estimate_bpm, confidence = tempo.estimate_tempo(np.zeros(n_samples, np.float32), 22_050)
    assert 30 <= estimate_bpm <= 285
    assert 0 <= confidence <= 1


@pytest.mark.parametrize("shape", [(0,), (9, 2)])
def test_wrong_waveforms(shape):
    with pytest.raises(ValueError, match="tempo is estimated of mono audio"):
        tempo.estimate_tempo(np.zeros(shape, np.float32), 22_050)
