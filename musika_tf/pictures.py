"""Log-mel pictures of waveforms, as arrays and as labelled PNG files."""

from __future__ import annotations

import os

import librosa
import librosa.display
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from musika_tf import files

# Range of the colour scale under the loudest point of a picture.
DYNAMIC_RANGE_DB = 80.0
N_MELS = 128
FFT_SIZE = 2048
HOP_SIZE = 512


def log_mel(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Log-mel spectrogram of the mean of all channels: float32 [n_samples, n_channels] →
    float32 [N_MELS, n_columns] in dB relative to the loudest point, at least -DYNAMIC_RANGE_DB.
    Silence is all floor."""
    power = librosa.feature.melspectrogram(
        y=np.mean(waveform, axis=1),
        sr=sample_rate_hz,
        n_fft=FFT_SIZE,
        hop_length=HOP_SIZE,
        n_mels=N_MELS,
    )
    if not power.max() > 1e-10:
        return np.full(power.shape, -DYNAMIC_RANGE_DB, np.float32)
    return librosa.power_to_db(power, ref=np.max, top_db=DYNAMIC_RANGE_DB).astype(np.float32)


def mel_picture(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Log-mel spectrogram as an RGB image, low frequencies at the bottom: float32
    [n_samples, n_channels] → uint8 [2·N_MELS, 2·n_columns, 3]."""
    level = 1.0 + log_mel(waveform, sample_rate_hz)[::-1] / DYNAMIC_RANGE_DB
    image = matplotlib.colormaps["magma"](level, bytes=True)[..., :3]
    return image.repeat(2, axis=0).repeat(2, axis=1)


def save_picture(
    path: str | os.PathLike, waveform: np.ndarray, sample_rate_hz: int, title: str
) -> None:
    """Writes a PNG: waveform [n_samples, n_channels] above, log-mel spectrogram below."""
    picture = Figure(figsize=(12, 6), layout="constrained")
    top, bottom = picture.subplots(2, 1, sharex=True, height_ratios=(1, 3))
    seconds = np.arange(len(waveform)) / sample_rate_hz
    for channel, label in zip(waveform.T, ("left", "right"), strict=False):
        top.plot(seconds[::16], channel[::16], linewidth=0.4, label=label)
    top.set(title=title, ylabel="amplitude", ylim=(-1, 1))
    if waveform.shape[1] == 2:
        top.legend(loc="upper right")
    image = librosa.display.specshow(
        log_mel(waveform, sample_rate_hz),
        sr=sample_rate_hz,
        hop_length=HOP_SIZE,
        x_axis="time",
        y_axis="mel",
        fmax=sample_rate_hz / 2,
        cmap="magma",
        ax=bottom,
    )
    bottom.set(
        xlabel="time in s", ylabel="frequency in Hz", xlim=(0, len(waveform) / sample_rate_hz)
    )
    picture.colorbar(image, ax=bottom, format="%+.0f dB")
    with files.written_aside(path) as new:
        picture.savefig(new, dpi=100, format="png")
