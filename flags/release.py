"""Flags of `musika-release`."""

from __future__ import annotations

from absl import flags

from flags import paths

RUN_DIR = paths.define(
    "run_dir", "Run folder with a trained autoencoder, and with a GAN or without.", required=True
)
WEIGHTS_DIR = paths.define("weights_dir", "Folder to write, like weights/piano.", required=True)
CARD = paths.define(
    "card",
    "Markdown file that the card begins with: what it was trained on and the licence of that, how "
    "good it is, known faults. What the run knows of its training is added.",
)
CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "newest",
    ("newest", "best"),
    "Which GAN to release: the newest, or the one whose latents were closest to held-out ones.",
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace weights that are there.")
