"""Log-mel pictures show what sounds, where it sounds."""

import librosa
import matplotlib.image
import numpy as np

from musika_tf import pictures

RATE_HZ = 22_050


def tone(pitch_hz, seconds=2.0) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def test_the_loudest_band_is_the_tones():
    levels = pictures.log_mel(tone(1000.0), RATE_HZ)
    centres_hz = librosa.mel_frequencies(pictures.N_MELS + 2, fmax=RATE_HZ / 2)[1:-1]
    loudest_hz = centres_hz[levels.mean(axis=1).argmax()]
    assert abs(loudest_hz - 1000.0) < 60.0
    assert abs(levels.max()) < 1e-4
    assert levels.min() >= -pictures.DYNAMIC_RANGE_DB


def test_silence_is_all_floor():
    levels = pictures.log_mel(np.zeros((RATE_HZ, 2), np.float32), RATE_HZ)
    np.testing.assert_array_equal(levels, -pictures.DYNAMIC_RANGE_DB)


def test_low_tones_are_at_the_bottom_of_the_picture():
    brightness = pictures.mel_picture(tone(200.0), RATE_HZ).sum(axis=(1, 2))
    assert brightness.argmax() > 0.8 * len(brightness)


def test_png_is_written_whole(tmp_path):
    pictures.save_picture(tmp_path / "music.png", tone(440.0), RATE_HZ, "a tone")
    pixels = matplotlib.image.imread(tmp_path / "music.png")
    assert pixels.shape[:2] == (600, 1200)
    assert pixels[..., :3].std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["music.png"]
