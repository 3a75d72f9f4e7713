"""What people look at and listen to while training: TensorBoard curves, audio and pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping

import tensorflow as tf

from musika_tf.pictures import mel_picture
from musika_tf.runs.curves import LOGS_DIR
from musika_tf.training.trainer import Samples


class SummaryWriter:
    """Writes one stage's TensorBoard log."""

    def __init__(self, stage_dir: str | os.PathLike):
        self._writer = tf.summary.create_file_writer(os.path.join(stage_dir, LOGS_DIR))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Curves, one a name."""
        with self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def samples(self, samples: Samples, step: int) -> None:
        """Audio players and log-mel pictures, one of each a waveform.

        References are the same at every step, so step 0, where a stage begins, is enough.
        """
        waveforms = samples.waveforms | (samples.references if step == 0 else {})
        with self._writer.as_default(step):
            for name, waveform in waveforms.items():
                tf.summary.audio(name, waveform[None], samples.sample_rate_hz, encoding="wav")
                tf.summary.image(name, mel_picture(waveform, samples.sample_rate_hz)[None])
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the log."""
        self._writer.close()
