"""Decoders: whole files, whoever decodes them, and what can be had of damaged ones."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile
import torture

from musika_tf import decoders

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not on the PATH")


def _noise(n_samples=100_000) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(n_samples, 2)) * 0.1
    return np.rint(noise * 32_768).astype(np.int16)


def _decode(path) -> tuple[int, np.ndarray]:
    with decoders.open_stream(path) as stream:
        return stream.sample_rate_hz, np.concatenate(list(stream.blocks))


@needs_ffmpeg
@pytest.mark.parametrize("n_channels", [1, 2])
def test_ffmpeg_reads_lossless_files_exactly(tmp_path, n_channels):
    samples = _noise()[:, :n_channels]
    soundfile.write(tmp_path / "a.wav", samples, 32_000)
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "alac"]
    subprocess.run([*command, tmp_path / "a.m4a"], check=True)
    rate_hz, decoded = _decode(tmp_path / "a.m4a")
    assert (rate_hz, decoded.dtype) == (32_000, np.float32)
    np.testing.assert_array_equal(decoded[: len(samples)] * 32_768, samples)
    assert not decoded[len(samples) :].any()


def test_an_mp3_without_its_length_is_read_to_the_end(tmp_path):
    """libsndfile alone ends where the bitrate of the first frame would have it end."""
    torture._without_length(tmp_path / "a.mp3")
    alone, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32", always_2d=True)
    _, decoded = _decode(tmp_path / "a.mp3")
    assert len(alone) < 0.8 * len(decoded)
    np.testing.assert_array_equal(decoded[: len(alone)], alone)
    assert len(decoded) / 22_050 == pytest.approx(2.06, abs=0.1)


def test_all_until_the_damage_is_given(tmp_path):
    samples = _noise(1_000_000)
    soundfile.write(tmp_path / "a.flac", samples, 44_100)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    blocks = []
    with decoders.open_stream(tmp_path / "a.flac") as stream:
        with pytest.raises(decoders.CutShortError, match="cannot read .*a.flac to its end"):
            blocks.extend(stream.blocks)
    decoded = np.concatenate(blocks)
    assert len(decoded) == pytest.approx(500_000, abs=70_000)
    np.testing.assert_array_equal(decoded * 32_768, samples[: len(decoded)])


@needs_ffmpeg
def test_both_decoders_say_why(tmp_path):
    (tmp_path / "a.m4a").write_text("no audio")
    with pytest.raises(ValueError, match=r"Format not recognised.* \(libsndfile\); .*\(ffmpeg\)"):
        _decode(tmp_path / "a.m4a")
