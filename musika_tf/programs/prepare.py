"""Turns folders of audio files into waveform shards.

    musika-prepare --preset=small --audio_dir=~/Music/piano --data_dir=data/piano

Every readable file becomes 16-bit stereo at --sample_rate_hz. What was used, what was skipped and
why is printed at the end and kept in DATA_DIR/report.csv. A run that was stopped goes on when it is
started again; DATA_DIR.decoded holds what it had done.

    musika-prepare --dataset=maestro --root=~/maestro-v3.0.0 --data_dir=data/maestro
    musika-prepare --dataset=maestro --root=~/maestro-v3.0.0 --share=3 \\
        --dataset=libritts --root=~/LibriTTS --share=1 --data_dir=data/mixed

Known data sets pick files and splits by their own metadata; several are mixed.

    musika-prepare ... --annotate=note_density,tempo --labels=brightness=my_labels.csv

What can condition a GAN lies beside the shards in labels-NAME.csv, a table of times and values.
"""

from __future__ import annotations

from absl import flags

from flags import audio as audio_flags
from flags import paths, preset, recordings

# Only so that the presets, which describe whole systems and trainings, can be given here too.
from flags import system as _system_flags  # noqa: F401
from flags import training as _training_flags  # noqa: F401
from flags import workers as worker_flags
from musika_tf.data import annotation, preparation
from musika_tf.data import workers as workers_lib
from musika_tf.programs import common

FLAGS = flags.FLAGS

paths.define(
    "data_dir",
    "Folder of the waveform shards. It must be new, empty, or with --overwrite an earlier one.",
    required=True,
)
flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace the shards that an earlier run left in --data_dir. Files that have not changed since "
    "are not decoded again.",
)
flags.DEFINE_bool("strict", False, "Fail if any audio file cannot be used, instead of skipping it.")
flags.DEFINE_list(
    "annotate",
    [],
    f"Signals to estimate, of {', '.join(annotation.ANNOTATORS)}: note onsets, whose density can "
    "condition a GAN, one tempo a file, and positions in beats. They become labels-NAME.csv in "
    "--data_dir. What was estimated is remembered in DATA_DIR.annotations, so that a run that was "
    "stopped goes on.",
)


@common.program(preset.expand)
def run() -> None:
    """Prepares one data set."""
    with workers_lib.sharing_machine(FLAGS.n_workers):
        report = preparation.prepare(
            recordings.recordings(),
            FLAGS.data_dir,
            audio_flags.config(),
            validation_share=FLAGS.validation_share,
            workers=worker_flags.workers(workers_lib.LocalWorkers(FLAGS.n_workers)),
            overwrite=FLAGS.overwrite,
            strict=FLAGS.strict,
            stuck_after_seconds=FLAGS.stuck_after_seconds,
            annotators=annotation.annotators(FLAGS.annotate, *recordings.detectors()),
            labels=recordings.labels(),
        )
    print(report.to_text())


if __name__ == "__main__":
    run()
