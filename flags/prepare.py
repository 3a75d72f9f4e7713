"""Flags of `musika-prepare`: which audio becomes which shards."""

from __future__ import annotations

import os

from absl import flags

from flags import paths
from musika_tf.conditioning import beats, onsets
from musika_tf.conditioning import labels as labels_lib
from musika_tf.data import annotation

_AUTO = "auto"

paths.define(
    "audio_dir", "Folder with the audio files; its subfolders are searched too.", required=True
)
paths.define(
    "data_dir",
    "Folder of the waveform shards. It must be new, empty, or with --overwrite an earlier one.",
    required=True,
)
flags.DEFINE_float(
    "validation_share",
    0.05,
    "Share of the files that is held out, above 0 and at most 0.5. Each file's name alone decides, "
    "so that files added later do not move others; at least one file always is held out.",
)
flags.DEFINE_integer(
    "n_workers",
    os.cpu_count() or 1,
    "Processes that read, resample and annotate at once; fewer take less memory.",
    lower_bound=1,
)
flags.DEFINE_bool("overwrite", False, "Replace the shards that an earlier run left in --data_dir.")
flags.DEFINE_list(
    "annotate",
    [],
    f"Signals to estimate, of {', '.join(annotation.ANNOTATORS)}: note onsets, whose density can "
    "condition a GAN, one tempo a file, and positions in beats. They become labels-NAME.csv in "
    "--data_dir. What was estimated is remembered in DATA_DIR.annotations, so that a run that was "
    "stopped goes on.",
)
flags.DEFINE_enum(
    "onset_detector",
    _AUTO,
    [_AUTO, *onsets.DETECTORS],
    "Who finds note onsets: madmom's network, as in the paper, from the extra madmom "
    "(`pip install '.[madmom]'`); or librosa, a simpler one. auto: madmom where it is installed.",
)
flags.DEFINE_enum(
    "beat_detector",
    _AUTO,
    [_AUTO, *beats.DETECTORS],
    "Who finds beats: a steady clock, near the tempo that Tempo-CNN (the extra 'musika_tf[tempo]') "
    "or librosa estimates; or madmom's networks (the extra 'musika_tf[madmom]'), which follow "
    "tempos that change. auto: tempocnn where it is installed, otherwise librosa.",
)
flags.DEFINE_multi_string(
    "labels",
    [],
    "NAME=FILE.csv: labels of your own of the signal NAME; can be given several times. Columns "
    "file,time_seconds,value for a curve (one row a file is a constant), or file,time_seconds for "
    "events; file is the path below --audio_dir.",
)


def annotators() -> list[annotation.Annotator]:
    """The annotators that the flags ask for. Raises ValueError for unknown ones."""
    chosen = (flags.FLAGS.onset_detector, flags.FLAGS.beat_detector)
    detectors = (None if detector == _AUTO else detector for detector in chosen)
    return annotation.annotators(flags.FLAGS.annotate, *detectors)


def labels() -> dict[str, labels_lib.Labels]:
    """The labels that the flags name, by signal name. Raises ValueError for wrong ones."""
    by_name: dict[str, labels_lib.Labels] = {}
    for text in flags.FLAGS.labels:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise ValueError(f"--labels={text} must be NAME=FILE.csv")
        if name in by_name:
            raise ValueError(f"--labels names {name} twice: one file a signal")
        by_name[name] = labels_lib.Labels.read(name, os.path.expanduser(path))
    return by_name
