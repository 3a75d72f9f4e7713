"""Flags of `musika-export`."""

from __future__ import annotations

from absl import flags

from flags import paths

RUN_DIR = paths.define(
    "run_dir", "Run folder with a trained autoencoder and latent GAN.", required=True
)
MODEL_DIR = paths.define(
    "model_dir",
    "Folder of the exported model; every export adds the next version, MODEL_DIR/1, 2, ...",
    required=True,
)
CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "newest",
    ("newest", "best"),
    "Which GAN to export: the newest, or the one whose latents were closest to held-out ones.",
)
VERIFY = flags.DEFINE_bool(
    "verify",
    True,
    "Load the new version in a fresh process and compare it with the networks of the run; a "
    "version that does not pass is not kept.",
)
