"""Flags of `musika-export`."""

from __future__ import annotations

from absl import flags

from export.saved_model import PRECISIONS
from export.signatures import Limits
from flags import _sections, paths

RUN_DIR = paths.define_model(
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
PRECISION = flags.DEFINE_enum(
    "precision",
    PRECISIONS[0],
    PRECISIONS,
    "Number format of the exported decoders and their weights. bfloat16 makes smaller files and is "
    "faster on processors that compute in it; see docs/speed.md.",
)
LITERT = flags.DEFINE_bool(
    "litert",
    False,
    "Also write the networks as LiteRT (TensorFlow Lite) graphs with float16 weights, for browsers "
    "and small devices: VERSION/litert/; see docs/page.md.",
)

limits = _sections.define(
    Limits,
    max_seconds="Longest audio that one request may ask for, in seconds; streaming has no limit.",
    max_batch_size="Rows that one request may have at most.",
    max_batch_seconds="Audio that all rows of a request may have together: bounds the memory of a "
    "server, about 1.3 MB a second.",
)
