"""Short-time Fourier transform, its inverse, and the scaled log magnitude. Pure functions.

Frames are not centred: frame i covers samples [i·hop, i·hop + window), so that what is computed
from a piece of audio depends on that piece alone.

    samples   0    hop   2·hop  3·hop  4·hop  5·hop
    frame 0   |---------- window ----------|
    frame 1        |---------- window ----------|
    frame 2               |---------- window ----------|

n frames span n·hop + (window - hop) samples. The first and last (window - hop) of them lie under
fewer frames than the rest; only those between can be rebuilt from the frames alone.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

# Scaled log magnitude x = ln(power) / LOG_POWER_SCALE, floored at -1 (paper §3.1; scaling is ours).
# With a window of 1024 a full-scale sine has ln(power) = 11.1, so that music lies within [-1, 1]
# and the floor, e^-10 in power, is 92 dB under a full-scale sine.
LOG_POWER_SCALE = 10.0
POWER_FLOOR = float(np.exp(-LOG_POWER_SCALE))
# No decoder may ask for more than this: far above any recording, far below overflow.
LOG_MAGNITUDE_CEILING = 1.5
# No bin that is decoded is louder than a sine of this level. What a GAN makes is now and then far
# louder than any recording, and would be clipped; recordings lose nothing by it.
LOUDEST_BIN_DBFS = -5.0

# Below this share of the power that is asked for, a phase is not trusted.
_CONSISTENCY_FLOOR = 0.01


def n_frames_of(n_samples: int, window_size: int, hop_size: int) -> int:
    """Whole frames in `n_samples` samples."""
    return max(0, 1 + (n_samples - window_size) // hop_size)


def stft(waveform: tf.Tensor, window_size: int, hop_size: int) -> tf.Tensor:
    """Short-time Fourier transform with a periodic Hann window, no padding; sizes are in samples.

    float32 [..., n_samples] → complex64 [..., n_frames, window_size // 2 + 1].
    """
    return tf.signal.stft(
        waveform, window_size, hop_size, fft_length=window_size, window_fn=tf.signal.hann_window
    )


def inverse_stft(spectrum: tf.Tensor, window_size: int, hop_size: int) -> tf.Tensor:
    """Inverse of `stft` by windowed overlap-add; the window is at least four hops long.

    complex64 [..., n_frames, n_bins] → float32 [..., n_frames·hop_size + window_size - hop_size].
    The first and last window_size - hop_size samples lack frames: they fade in and out.
    """
    frames = tf.signal.irfft(spectrum, fft_length=[window_size])
    return _overlap_add(frames * synthesis_window(window_size, hop_size), hop_size)


def _overlap_add(frames: tf.Tensor, hop_size: int) -> tf.Tensor:
    """Frames [..., n_frames, window_size], each begun a hop later, and summed.

    The numbers of `tf.signal.overlap_and_add` in four fifths of its time: it transposes the frames.
    """
    n_hops = frames.shape[-1] // hop_size
    leading = tf.shape(frames)[:-2]
    parts = tf.reshape(frames, tf.concat([leading, [-1, n_hops, hop_size]], axis=0))
    before = [[0, 0]] * (frames.shape.rank - 2)
    shifted = [
        tf.pad(parts[..., hop, :], [*before, [hop, n_hops - 1 - hop], [0, 0]])
        for hop in range(n_hops)
    ]
    return tf.reshape(tf.add_n(shifted), tf.concat([leading, [-1]], axis=0))


@functools.lru_cache(maxsize=8)
def synthesis_window(window_size: int, hop_size: int) -> np.ndarray:
    """Hann window over the sum of its own squares, which is constant where frames are complete.

    float32 [window_size]; analysis window times this one, overlap-added, is one everywhere.
    """
    window = _hann(window_size)
    squares = np.sum(np.square(window).reshape(-1, hop_size), axis=0)
    return (window / np.tile(squares, window_size // hop_size)).astype(np.float32)


def consistent(spectrum: tf.Tensor, window_size: int, hop_size: int, n_steps: int) -> tf.Tensor:
    """Keeps the magnitudes and moves the phases towards those of a waveform (Griffin & Lim 1984).

    Each step takes the waveform whose frames come nearest to the spectrum, at both ends too, and
    of the waveform's spectrum the phases. Where the waveform has far less than the magnitude that
    is asked for, its phase is chance: there the magnitude is lowered, so that rounding is not
    magnified. A spectrum that is that of a waveform stays as it is. Gradients pass through.

    complex64 [..., n_frames, window_size // 2 + 1], n_frames static → the same.
    """
    magnitudes = magnitude(spectrum)
    window = _hann(window_size).astype(np.float32)
    weights = _sum_of_squared_windows(spectrum.shape[-2], window_size, hop_size)
    for _ in range(n_steps):
        frames = tf.signal.irfft(spectrum, fft_length=[window_size])
        waveform = _overlap_add(frames * window, hop_size) / weights
        found = stft(waveform, window_size, hop_size)
        least = _CONSISTENCY_FLOOR * tf.square(magnitudes)
        gain = magnitudes * tf.math.rsqrt((power(found) + least) / (1.0 + _CONSISTENCY_FLOOR))
        spectrum = found * tf.complex(gain, tf.zeros_like(gain))
    return spectrum


@functools.lru_cache(maxsize=8)
def _sum_of_squared_windows(n_frames: int, window_size: int, hop_size: int) -> np.ndarray:
    """What an overlap-add of windowed frames weighs every sample with, float32 [n_samples].

    At least 1e-3: the outermost samples, under next to nothing of one window, are not magnified
    without limit.
    """
    total = np.zeros(n_frames * hop_size + window_size - hop_size)
    for start in range(0, n_frames * hop_size, hop_size):
        total[start : start + window_size] += np.square(_hann(window_size))
    return np.maximum(total, 1e-3).astype(np.float32)


def _hann(window_size: int) -> np.ndarray:
    """Periodic Hann window, float64 [window_size]."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(window_size) / window_size)


@functools.lru_cache(maxsize=8)
def carrier(window_size: int, hop_size: int) -> np.ndarray:
    """Phase factors exp(2πi·bin·frame·hop_size/window_size) of tones at the centres of the bins.

    The phase of a steady tone advances by about this much from frame to frame in the bins that it
    fills: by at most an eighth turn more or less in its loudest one, where a hop is a quarter
    window.

    Returns:
      complex64 [window_size // hop_size, window_size // 2 + 1]; after these frames it repeats.
    """
    frames = np.arange(window_size // hop_size)[:, None]
    bins = np.arange(window_size // 2 + 1)
    return np.exp(2j * np.pi * bins * frames * hop_size / window_size).astype(np.complex64)


def power(spectrum: tf.Tensor) -> tf.Tensor:
    """Squared magnitude; unlike the magnitude its gradient is finite at zero."""
    return tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))


def magnitude(spectrum: tf.Tensor) -> tf.Tensor:
    """Magnitude, floored at sqrt(POWER_FLOOR·1e-3) so that its gradient stays finite in silence."""
    return tf.sqrt(tf.maximum(power(spectrum), 1e-3 * POWER_FLOOR))


def log_magnitude(spectrum: tf.Tensor) -> tf.Tensor:
    """Scaled log magnitude: ln(max(power, floor)) / LOG_POWER_SCALE, about [-1, 1]."""
    return tf.math.log(tf.maximum(power(spectrum), POWER_FLOOR)) / LOG_POWER_SCALE


def magnitude_from_log(log_magnitudes: tf.Tensor) -> tf.Tensor:
    """Inverse of `log_magnitude`; values above LOG_MAGNITUDE_CEILING are cut to it."""
    half_log_power = 0.5 * LOG_POWER_SCALE * tf.minimum(log_magnitudes, LOG_MAGNITUDE_CEILING)
    return tf.exp(half_log_power)


def loudest_log_magnitude(window_size: int) -> float:
    """Scaled log magnitude of a sine of LOUDEST_BIN_DBFS in the middle of a bin."""
    amplitude = 10.0 ** (LOUDEST_BIN_DBFS / 20.0)
    # A sine is half in positive frequencies, and a Hann window has a mean of a half.
    return 2.0 * float(np.log(amplitude * window_size / 4.0)) / LOG_POWER_SCALE


def log_spectrogram(waveform: tf.Tensor, window_size: int, hop_size: int) -> tf.Tensor:
    """Scaled log magnitudes [..., n_frames, n_bins] of a waveform [..., n_samples]."""
    return log_magnitude(stft(waveform, window_size, hop_size))
