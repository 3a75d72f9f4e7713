"""Flags of `musika-prepare`, besides those of the audio."""

from __future__ import annotations

from absl import flags

from flags import paths, recordings
from musika_tf.data import annotation

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


def annotators() -> list[annotation.Annotator]:
    """The annotators that the flags ask for. Raises ValueError for unknown ones."""
    return annotation.annotators(flags.FLAGS.annotate, *recordings.detectors())
