"""Flags of the audio format and the short-time Fourier transform, one a field of `AudioConfig`."""

from __future__ import annotations

from flags import _sections
from musika_tf.config import AudioConfig

config = _sections.define(
    AudioConfig,
    sample_rate_hz="Sample rate of everything the system reads and makes, in Hz; other files are "
    "resampled.",
    window_size="Length of the Hann window of the Fourier transform that the encoder reads and "
    "the decoder writes, in samples; a multiple of --hop_size and at least four times as long.",
    hop_size="Distance between two frames of the Fourier transform, in samples.",
    excerpt_n_frames="Length of an excerpt, the piece of audio that is decoded independently of "
    "its neighbours, in frames.",
)
