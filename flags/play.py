"""Flags of `musika-play`."""

from __future__ import annotations

import os

from absl import flags

from flags import paths

MODEL_DIRS = paths.define_models(
    "model_dir",
    "Model to play: a run, released weights, or a model exported with --litert; may be repeated. "
    "Without it: all in weights/, here and in the project's checkout.",
)
CACHE_DIR = paths.define(
    "cache_dir",
    "Where pages are kept once they are built.",
    default=os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "musika_tf", "pages"),
)
PORT = flags.DEFINE_integer(
    "port", 8766, "Port of this machine at which the page is served; 0: a free one.", 0, 65535
)
BROWSER = flags.DEFINE_bool("browser", True, "Open the page in the browser.")
