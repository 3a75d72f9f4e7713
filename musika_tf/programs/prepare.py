"""Turns folders of audio files into waveform shards.

    musika-prepare --audio_dir=~/Music/piano --data_dir=data/piano

Every readable file becomes 16-bit stereo at --sample_rate_hz. What was used, what was skipped and
why is printed at the end and kept in DATA_DIR/report.csv.
"""

from __future__ import annotations

import os
import sys

from absl import app, flags

from flags import audio as audio_flags
from flags import prepare as prepare_flags

# Only so that the presets, which describe whole systems and trainings, can be given here too.
from flags import system as _system_flags  # noqa: F401
from flags import training as _training_flags  # noqa: F401
from musika_tf import preparation

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(prepare_flags)
flags.adopt_module_key_flags(audio_flags)


def main(argv: list[str]) -> None:
    """Prepares one data set; a mistake of the user ends it with one line."""
    if len(argv) > 1:
        raise app.UsageError(f"stray arguments: {' '.join(argv[1:])}")
    try:
        report = preparation.prepare(
            os.path.expanduser(FLAGS.audio_dir),
            os.path.expanduser(FLAGS.data_dir),
            audio_flags.config(),
            validation_share=FLAGS.validation_share,
            n_workers=FLAGS.n_workers,
            overwrite=FLAGS.overwrite,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"musika-prepare: {error}")
    print(report.to_text())


def run() -> None:
    """Entry point of the console command."""
    app.run(main)


if __name__ == "__main__":
    run()
