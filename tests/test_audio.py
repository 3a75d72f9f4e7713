"""Audio files: sines against NumPy's own, and writers that leave only whole files."""

import os
import sys

import numpy as np
import pytest
import soundfile
import soxr

from musika_tf import audio, decoders
from musika_tf.audio import Audio, AudioWriter


def _sine(n_samples: int, sample_rate_hz: int, frequency_hz: float = 440.0) -> np.ndarray:
    """[n_samples, 1] float32 of amplitude 0.5."""
    seconds = np.arange(n_samples) / sample_rate_hz
    return 0.5 * np.sin(2 * np.pi * frequency_hz * seconds)[:, None].astype(np.float32)


def _write_and_read(path, samples, from_hz, to_hz) -> Audio:
    """Samples through a float file, resampled."""
    soundfile.write(path, samples, from_hz, "FLOAT")
    return audio.read(path, to_hz)


@pytest.mark.parametrize("from_hz", [8_000, 16_000, 44_100, 48_000, 96_000])
def test_a_resampled_sine_is_a_sine(tmp_path, from_hz):
    sine = _sine(2 * from_hz, from_hz)
    resampled = _write_and_read(tmp_path / "a.wav", sine, from_hz, 22_050)
    assert resampled.sample_rate_hz == 22_050
    assert resampled.samples.shape == (44_100, 1)
    middle = slice(1000, -1000)  # The sine begins and ends abruptly, which rings.
    np.testing.assert_allclose(resampled.samples[middle], _sine(44_100, 22_050)[middle], atol=1e-5)


def test_resampling_removes_what_would_alias(tmp_path):
    high = _sine(48_000, 48_000, frequency_hz=15_000)
    resampled = _write_and_read(tmp_path / "a.wav", high, 48_000, 22_050)
    assert np.abs(resampled.samples[1000:-1000]).max() < 1e-5


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_lossless_files_come_back_exactly(tmp_path, suffix, n_channels):
    samples = np.random.default_rng(0).integers(-32_768, 32_768, (5000, n_channels), np.int16)
    soundfile.write(tmp_path / f"a{suffix}", samples, 32_000)
    back = audio.read(tmp_path / f"a{suffix}")
    assert (back.sample_rate_hz, back.samples.dtype) == (32_000, np.float32)
    np.testing.assert_array_equal(back.samples * 32_768, samples)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_lossy_files_come_back_nearly(tmp_path, name):
    samples = _sine(44_100, 44_100)
    soundfile.write(tmp_path / name, samples, 44_100)
    back = audio.read(tmp_path / name)
    spectrum = np.abs(np.fft.rfft(back.samples[:44_100, 0]))
    assert spectrum.argmax() == 440  # One bin a hertz.
    assert back.samples.std() == pytest.approx(samples.std(), rel=0.02)


def test_blocks_together_are_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(decoders, "_BLOCK_N_VALUES", 14_000)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (30_000, 2)).astype(np.float32)
    audio.write(tmp_path / "a.wav", Audio(samples, 44_100))
    whole = soxr.resample(audio.read(tmp_path / "a.wav").samples, 44_100, 22_050)
    blocks = list(audio.read_blocks(tmp_path / "a.wav", 22_050))
    assert len(blocks) > 5
    np.testing.assert_allclose(np.concatenate([b.samples for b in blocks]), whole, atol=1e-6)
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav", 22_050).samples, whole, atol=1e-6)


def test_stereo():
    left, right, third = np.eye(3, dtype=np.float32)
    mono = audio.to_stereo(Audio(left[:, None], 8000))
    np.testing.assert_array_equal(mono.samples, np.stack([left, left], axis=1))
    surround = audio.to_stereo(Audio(np.stack([left, right, third], axis=1), 8000))
    np.testing.assert_array_equal(surround.samples, np.stack([left, right], axis=1))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_writing_rounds_and_limits(tmp_path, suffix):
    steps = np.array([[0.6, 40_000], [-0.6, -40_000], [0.4, -1.4], [32_767.4, 0]], np.float32)
    audio.write(tmp_path / f"a{suffix}", Audio(steps / 32_768, 22_050))
    stored, rate = soundfile.read(tmp_path / f"a{suffix}", dtype="int16")
    np.testing.assert_array_equal(stored, [[1, 32_767], [-1, -32_768], [0, -1], [32_767, 0]])
    assert rate == 22_050
    assert soundfile.info(tmp_path / f"a{suffix}").subtype == "PCM_16"
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_chunks_together_are_the_whole(tmp_path, suffix):
    samples = np.random.default_rng(0).uniform(-1, 1, (10_000, 2)).astype(np.float32)
    audio.write(tmp_path / f"whole{suffix}", Audio(samples, 22_050))
    with AudioWriter(tmp_path / f"chunks{suffix}", 22_050) as writer:
        for chunk in np.array_split(samples, 7):
            writer.write(chunk)
    np.testing.assert_array_equal(
        audio.read(tmp_path / f"chunks{suffix}").samples,
        audio.read(tmp_path / f"whole{suffix}").samples,
    )


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_an_interrupted_writer_leaves_a_shorter_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(KeyboardInterrupt):
        with AudioWriter(path, 22_050, 1) as writer:
            writer.write(_sine(5000, 22_050))
            assert not path.exists()
            raise KeyboardInterrupt
    assert audio.read(path).n_samples == 5000
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_killed_writer_leaves_a_playable_wav_file(tmp_path):
    writer = AudioWriter(tmp_path / "a.wav", 22_050, 1).__enter__()
    writer.write(_sine(5000, 22_050))
    assert audio.read(tmp_path / "a.partial.wav").n_samples == 5000
    writer.__exit__(None, None, None)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="NaN"):
        audio.write(tmp_path / "a.wav", Audio(np.full((5, 2), np.nan, np.float32), 22_050))
    assert not list(tmp_path.iterdir())


def test_a_wav_file_over_4_gib_is_refused(tmp_path):
    with AudioWriter(tmp_path / "a.wav", 22_050) as writer:
        # A view of one zero: no memory is taken.
        with pytest.raises(ValueError, match="write .flac"):
            writer._require_room(2**30)
        writer.write(np.zeros((10, 2), np.float32))


def test_a_wav_file_that_will_be_over_4_gib_is_refused_at_once(tmp_path):
    n_samples = 14 * 3600 * 22_050  # 14 hours, 4.4 GB.
    with pytest.raises(ValueError, match="a.wav would grow over .* write .flac"):
        AudioWriter(tmp_path / "a.wav", 22_050, expected_n_samples=n_samples)
    AudioWriter(tmp_path / "a.flac", 22_050, expected_n_samples=n_samples)
    AudioWriter(tmp_path / "a.wav", 22_050, expected_n_samples=n_samples * 13 // 14)


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "a.partial.wav").mkdir()
    with pytest.raises(OSError, match="cannot write .*a.wav"):
        audio.write(tmp_path / "a.wav", Audio(np.zeros((5, 2), np.float32), 22_050))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_file_that_the_disk_does_not_take_is_named(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).uniform(-1, 1, (100_000, 2)).astype(np.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=f"cannot write .*a{suffix}"):
            audio.write(tmp_path / f"a{suffix}", Audio(noise, 22_050))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_names_that_are_no_utf8_are_written(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")  # Latin-1
    audio.write(path, Audio(np.zeros((5, 2), np.float32), 22_050))
    assert audio.read(path).n_samples == 5


def test_an_unknown_suffix_names_the_allowed_ones(tmp_path):
    with pytest.raises(ValueError, match=r"a.mp3: the suffix must be one of .wav, .flac"):
        audio.write(tmp_path / "a.mp3", Audio(np.zeros((5, 2), np.float32), 22_050))


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(ValueError, match="cannot read .*text.wav: Format not recognised"):
        audio.read(tmp_path / "text.wav")
    with pytest.raises(ValueError, match="cannot read .*missing.wav: No such file"):
        audio.read(tmp_path / "missing.wav")
    soundfile.write(tmp_path / "nan.wav", np.full(9, np.nan), 22_050, subtype="FLOAT")
    with pytest.raises(ValueError, match="nan.wav: it holds NaN"):
        audio.read(tmp_path / "nan.wav")


def test_audio_checks_its_samples():
    with pytest.raises(ValueError, match=r"float64 \(5,\)"):
        Audio(np.zeros(5), 22_050)
