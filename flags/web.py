"""Flags of `musika-web`."""

from __future__ import annotations

from absl import flags

from flags import paths

MODEL_DIRS = paths.define_models(
    "model_dir",
    "Model of the page: a run, released weights, or a model exported with --litert. Given several "
    "times, the page offers each; its name is that of its folder.",
)
OUT = paths.define("out", "Folder to write: any file host serves it.", required=True)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a folder that is there.")
