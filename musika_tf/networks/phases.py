"""Phases as decoders give them: directions in the plane, relative to a carrier."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from musika_tf import spectral


def direction_to_spectrum(
    log_magnitudes: tf.Tensor, directions: tf.Tensor, carrier: np.ndarray
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scaled log magnitudes and phase directions → spectrum, in real arithmetic.

    A direction (a, b) stands for the phase whose cosine and sine are a/√(a²+b²) and b/√(a²+b²):
    no wrap-around to learn, no trigonometry at run time. It is relative to the carrier, so that
    what a steady tone asks of the decoder changes slowly from frame to frame.

    Args:
      log_magnitudes: float32 [batch, n_frames, n_bins].
      directions: float32 [batch, n_frames, 2·n_bins].
      carrier: complex64 [period, n_bins], see `spectral.carrier`; period divides n_frames.

    Returns:
      Real and imaginary parts, each float32 [batch, n_frames, n_bins].
    """
    a, b = tf.split(directions, 2, axis=-1)
    scale = spectral.magnitude_from_log(log_magnitudes) * tf.math.rsqrt(a * a + b * b + 1e-8)
    return _modulated(scale * a, scale * b, carrier)


def spectrum_to_direction(spectrum: tf.Tensor, carrier: np.ndarray) -> tf.Tensor:
    """Phase directions of a spectrum, relative to the carrier: [batch, n_frames, 2·n_bins]."""
    parts = tf.math.real(spectrum), tf.math.imag(spectrum)
    return tf.concat(_modulated(*parts, carrier.conj()), axis=-1)


def _modulated(
    real: tf.Tensor, imaginary: tf.Tensor, carrier: np.ndarray
) -> tuple[tf.Tensor, tf.Tensor]:
    """Parts [batch, n_frames, n_bins], times a carrier that repeats along the frames."""
    shape = tf.shape(real)
    by_period = (-1, shape[1] // len(carrier), *carrier.shape)
    real, imaginary = (tf.reshape(part, by_period) for part in (real, imaginary))
    cosine, sine = carrier.real, carrier.imag
    turned = real * cosine - imaginary * sine, real * sine + imaginary * cosine
    return tuple(tf.reshape(part, shape) for part in turned)
