"""Turns the newest checkpoints of a run into a SavedModel, the next version in --model_dir.

musika-export --run_dir=runs/piano --model_dir=models/piano
"""

from __future__ import annotations

import sys

import tensorflow as tf
from absl import flags, logging

from export import saved_model
from export.signatures import Limits
from flags import _sections, paths
from musika_tf.programs import common
from musika_tf.runs.run import Run

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
    saved_model.PRECISIONS[0],
    saved_model.PRECISIONS,
    "Number format of the exported decoders and their weights. bfloat16 makes smaller files and is "
    "faster on processors that compute in it; see docs/speed.md.",
)
LITERT = flags.DEFINE_bool(
    "litert",
    False,
    "Also write the networks as LiteRT (TensorFlow Lite) graphs with float16 weights, for browsers "
    "and small devices: VERSION/litert/; see docs/page.md.",
)

_limits = _sections.define(
    Limits,
    max_seconds="Longest audio that one request may ask for, in seconds; streaming has no limit.",
    max_batch_size="Rows that one request may have at most.",
    max_batch_seconds="Audio that all rows of a request may have together: bounds the memory of a "
    "server, about 1.3 MB a second.",
)


@common.program()
def run() -> None:
    """Exports the run that the flags name."""
    # Saving tells at length about names of tensors and temporary files.
    logging.set_verbosity(logging.WARNING)
    tf.get_logger().setLevel("WARNING")
    run = Run(RUN_DIR.value)
    version_dir = saved_model.export(
        run,
        MODEL_DIR.value,
        verify=VERIFY.value,
        with_best=CHECKPOINT.value == "best",
        limits=_limits(),
        precision=PRECISION.value,
        with_litert=LITERT.value,
    )
    if run.decodes_magnitudes_only:
        print(
            "warning: level 2 was trained in phase 1 only, so phases come from level 1 alone; "
            "`musika-train-autoencoder --level=2 --phase=2` makes the model sound better",
            file=sys.stderr,
        )
    print(version_dir)


if __name__ == "__main__":
    run()
