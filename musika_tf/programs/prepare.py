"""Turns folders of audio files into waveform shards.

    musika-prepare --audio_dir=~/Music/piano --data_dir=data/piano

Every readable file becomes 16-bit stereo at --sample_rate_hz. What was used, what was skipped and
why is printed at the end and kept in DATA_DIR/report.csv.
"""

from __future__ import annotations

from absl import flags

from flags import audio as audio_flags
from flags import prepare as _prepare_flags  # noqa: F401

# Only so that the presets, which describe whole systems and trainings, can be given here too.
from flags import system as _system_flags  # noqa: F401
from flags import training as _training_flags  # noqa: F401
from musika_tf import preparation
from musika_tf.programs import common

FLAGS = flags.FLAGS


def main(argv: list[str]) -> None:
    """Prepares one data set."""
    common.reject_arguments(argv)
    report = preparation.prepare(
        FLAGS.audio_dir,
        FLAGS.data_dir,
        audio_flags.config(),
        validation_share=FLAGS.validation_share,
        n_workers=FLAGS.n_workers,
        overwrite=FLAGS.overwrite,
    )
    print(report.to_text())


def run() -> None:
    """Console entry point."""
    common.run(main)


if __name__ == "__main__":
    run()
