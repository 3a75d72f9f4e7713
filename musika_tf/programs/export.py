"""Turns the newest checkpoints of a run into a SavedModel, the next version in --model_dir.

musika-export --run_dir=runs/piano --model_dir=models/piano
"""

from __future__ import annotations

import sys

import tensorflow as tf
from absl import logging

from export import saved_model
from flags import export as export_flags
from musika_tf.programs import common
from musika_tf.runs.run import Run


@common.program()
def run() -> None:
    """Exports the run that the flags name."""
    # Saving tells at length about names of tensors and temporary files.
    logging.set_verbosity(logging.WARNING)
    tf.get_logger().setLevel("WARNING")
    run = Run(export_flags.RUN_DIR.value)
    version_dir = saved_model.export(
        run,
        export_flags.MODEL_DIR.value,
        verify=export_flags.VERIFY.value,
        with_best=export_flags.CHECKPOINT.value == "best",
        limits=export_flags.limits(),
        precision=export_flags.PRECISION.value,
        with_litert=export_flags.LITERT.value,
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
