"""A training step as a program for XLA, to be run where there is XLA and no TensorFlow.

`lower` writes a folder that holds all that is needed there besides the shards:

    step.hlo                 the step, for one device: parameters and batch in, metrics and new
                             values out
    state.safetensors        what the step begins with: a checkpoint, by the same names
    constants.safetensors    tensors that the step takes besides
    manifest.json            which parameter is what, and how batches are made

`lowered_step.py` runs it with JAX, and what that writes is a checkpoint again. Where the program
writes an output over a parameter (XLA's input-output aliases), the output is that variable's new
value; this is how TensorFlow passes variables to XLA.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
from typing import Any

import tensorflow as tf

from musika_tf import files
from musika_tf.runs import checkpoint
from musika_tf.training import pipeline
from musika_tf.training.loop import LoopState
from musika_tf.training.trainer import Trainer

LOWERED_VERSION = 1

PROGRAM_FILE = "step.hlo"
STATE_FILE = "state.safetensors"
CONSTANTS_FILE = "constants.safetensors"
MANIFEST_FILE = "manifest.json"


def lower(
    trainer: Trainer,
    batches: pipeline.Batches,
    stage_dir: pathlib.Path,
    folder: str | os.PathLike,
) -> None:
    """Writes the step of a trainer, as it stands, into a folder.

    Args:
      trainer: of one device.
      batches: of the training; their sizes are fixed by the program.
      stage_dir: folder of the stage, whose newest checkpoint it goes on from.

    Raises:
      ValueError: `folder` holds something, or the step takes a variable that no checkpoint holds.
    """
    folder = pathlib.Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: name a new folder for the lowered step")
    state = LoopState(trainer, stage_dir).variables()
    step = tf.function(trainer.step, autograph=False, jit_compile=True)
    specs = [tf.TensorSpec(spec.shape, spec.dtype) for spec in batches.array_specs]
    traced = step.get_concrete_function(*specs)
    captured, constants = _captured(traced, state)
    compiler_ir = step.experimental_get_compiler_ir(*specs)
    parameters = [{"batch": index} for index in range(len(specs))] + captured
    manifest = {
        "version": LOWERED_VERSION,
        "stage": stage_dir.name,
        "metrics": sorted(traced.structured_outputs),
        "parameters": parameters,
        # Output k is the new value of the variable that parameter aliases[k] is.
        "aliases": _aliases(compiler_ir(stage="hlo").partition("\n")[0]),
        "batches": batches.as_dict(),
        "batch": [{"shape": spec.shape, "dtype": spec.dtype.name} for spec in batches.array_specs],
    }
    with files.written_aside(folder) as new:
        new.mkdir()
        (new / PROGRAM_FILE).write_bytes(compiler_ir(stage="hlo_serialized"))
        checkpoint.save_arrays(new / STATE_FILE, {k: v.numpy() for k, v in state.items()})
        checkpoint.save_arrays(new / CONSTANTS_FILE, constants)
        (new / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _captured(traced, state: dict[str, tf.Variable]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the program takes after the batch: by parameter a name in `state` or of a constant."""
    names = {variable.handle.ref(): name for name, variable in state.items()}
    parameters, constants = [], {}
    for tensor in traced.captured_inputs:
        if tensor.dtype != tf.resource:
            name = f"constant{len(constants)}"
            constants[name] = tensor.numpy()
            parameters.append({"constant": name})
        elif tensor.ref() in names:
            parameters.append({"state": names[tensor.ref()]})
        else:
            raise ValueError("the step takes a variable that is not part of its state")
    return parameters, constants


def _aliases(header: str) -> dict[int, int]:
    """Output → parameter of the first line of a program's text, `{7}: (2, {}, may-alias)`."""
    return {int(o): int(p) for o, p in re.findall(r"\{(\d+)\}: \((\d+), \{\}", header)}
