"""Flags of `musika-prepare`: which audio becomes which shards."""

from __future__ import annotations

import os

from absl import flags

from flags import paths

paths.define(
    "audio_dir",
    "Folder with the audio files; its subfolders are searched too.",
    required=True,
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
    "Processes that read and resample at once; fewer take less memory.",
    lower_bound=1,
)
flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace the shards that an earlier run left in --data_dir.",
)
