"""Flags of the audio that is prepared: where it lies, what is held out, who labels it."""

from __future__ import annotations

import os

from absl import flags

from flags import paths
from musika_tf.conditioning import beats, onsets
from musika_tf.conditioning import labels as labels_lib
from musika_tf.data import recordings as recordings_lib
from musika_tf.data.audio_folder import Found, find_audio_files

_AUTO = "auto"

paths.define("audio_dir", "Folder with the audio files; its subfolders are searched too.")
flags.DEFINE_multi_enum(
    "dataset",
    [],
    recordings_lib.KINDS,
    "A known data set in place of --audio_dir, or several, each with its --root: files and splits "
    "are picked by its own metadata. folder: any folder.",
)
flags.DEFINE_multi_string("root", [], "Folder of a --dataset, in the same order.")
flags.DEFINE_multi_float(
    "share",
    [],
    "Of several --dataset, how much of the training crops each gives, in the same order and any "
    "unit; without it, as much as it is long.",
    lower_bound=0,
)
flags.DEFINE_list(
    "tags",
    [],
    "Of --dataset=mtg_jamendo: tracks with any of these tags, such as genre---techno; without it, "
    "all tracks.",
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
    "Processes that decode, resample and annotate at once; fewer take less memory.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "stuck_after_seconds",
    60,
    "A decoder that gives nothing for so long is stopped, and its file skipped; 0: never.",
    lower_bound=0,
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
    "Who finds beats: a steady clock, near the tempo that Tempo-CNN (`pip install '.[tempo]'`) or "
    "librosa estimates; or madmom's networks (`pip install '.[madmom]'`), which follow tempos that "
    "change. auto: tempocnn where it is installed, otherwise librosa.",
)
flags.DEFINE_multi_string(
    "labels",
    [],
    "NAME=FILE.csv: labels of your own of the signal NAME; can be given several times. Columns "
    "file,time_seconds,value for a curve (one row a file is a constant), or file,time_seconds for "
    "events; file is the path below --audio_dir.",
)


def recordings() -> Found:
    """The files that the flags ask for. Raises ValueError for what does not go together."""
    kinds, roots = flags.FLAGS.dataset, flags.FLAGS.root
    if bool(flags.FLAGS.audio_dir) == bool(kinds):
        raise ValueError("give either --audio_dir or --dataset with --root")
    if len(roots) != len(kinds):
        raise ValueError(f"{len(kinds)} times --dataset, but {len(roots)} times --root")
    if not kinds:
        return find_audio_files(flags.FLAGS.audio_dir)
    founds = [
        recordings_lib.find(
            kind, os.path.expanduser(root), flags.FLAGS.tags if kind == "mtg_jamendo" else ()
        )
        for kind, root in zip(kinds, roots, strict=True)
    ]
    if len(founds) == 1 and not flags.FLAGS.share:
        return founds[0]
    names = [kind if kinds.count(kind) == 1 else f"{kind}{i}" for i, kind in enumerate(kinds)]
    if flags.FLAGS.share and len(flags.FLAGS.share) != len(kinds):
        raise ValueError(
            f"{len(kinds)} times --dataset, but {len(flags.FLAGS.share)} times --share"
        )
    shares = dict(zip(names, flags.FLAGS.share, strict=False))
    return recordings_lib.mix(dict(zip(names, founds, strict=True)), shares)


def detectors() -> tuple[str | None, str | None]:
    """Who finds onsets and beats, as `annotation.annotators` takes them."""
    chosen = (flags.FLAGS.onset_detector, flags.FLAGS.beat_detector)
    onset_detector, beat_detector = (None if name == _AUTO else name for name in chosen)
    return onset_detector, beat_detector


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
