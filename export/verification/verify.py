"""Checks an exported model the way others will use it: in a fresh process, without this project.

    table = verify(version_dir, cases)

The process loads the model by each of `loaders`, compares what every signature gives
with what the live networks gave, tries the promises (the same again, rows on their own, streaming,
refusals, warm-up) and reads the graph.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

from export.verification.checks import Cases

_PROGRAM = pathlib.Path(__file__).with_name("program.py")


def verify(version_dir: str | os.PathLike, cases: Cases) -> str:
    """Checks an exported model in a fresh process, on the CPU.

    Args:
      cases: what to compare; the outputs computed on the CPU, for the same roundings.

    Returns:
      A table: each check through each loader.

    Raises:
      ValueError: the model cannot be loaded or does not pass a check; the message holds the table.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "cases.npz")
        np.savez(path, **dict(_flattened(cases)))
        command = [sys.executable, _PROGRAM, f"--model_dir={version_dir}", f"--cases={path}"]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(
            f"the exported model in {version_dir} did not pass:\n{done.stdout}{done.stderr[-4000:]}"
        )
    return done.stdout


def _flattened(cases: Cases) -> Iterator[tuple[str, np.ndarray]]:
    for signature, sides in cases.items():
        for side, arrays in zip(("inputs", "outputs"), sides, strict=True):
            for name, array in arrays.items():
                if array.dtype == object:  # Strings of one length, as bytes that NumPy keeps whole.
                    array = np.array(list(array), f"V{len(array[0])}")
                yield f"{signature}/{side}/{name}", array
