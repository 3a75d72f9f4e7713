"""Flags of the audio format and the short-time Fourier transform, one a field of `AudioConfig`."""

from __future__ import annotations

from absl import flags

from flags import _sections
from musika_tf.config import AudioConfig

_DEFAULT = AudioConfig()

flags.DEFINE_integer(
    "sample_rate_hz",
    _DEFAULT.sample_rate_hz,
    "Sample rate of everything the system reads and makes, in Hz; other files are resampled.",
)
flags.DEFINE_integer(
    "window_size",
    _DEFAULT.window_size,
    "Length of the Hann window of the Fourier transform that the encoder reads and the decoder "
    "writes, in samples; a multiple of --hop_size and at least four times as long.",
)
flags.DEFINE_integer(
    "hop_size",
    _DEFAULT.hop_size,
    "Distance between two frames of the Fourier transform, in samples.",
)
flags.DEFINE_integer(
    "excerpt_n_frames",
    _DEFAULT.excerpt_n_frames,
    "Length of an excerpt, the piece of audio that is decoded independently of its neighbours, in "
    "frames.",
)


def config(
    saved: AudioConfig | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> AudioConfig:
    """The audio section that the flags ask for; unset flags follow `saved` where it is given."""
    return _sections.build(AudioConfig, saved, flag_values)
