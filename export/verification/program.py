"""Checks an exported model in this process, which must not know the project that made it.

python program.py --model_dir=models/piano/1 --cases=cases.npz
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

import checks
import graph
import loaders
import numpy as np

_PROJECT = ("musika_tf", "export", "flags")


def main() -> int:
    """Prints the table; the exit status is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model_dir", required=True, help="Folder with saved_model.pb.")
    parser.add_argument("--cases", required=True, help="Inputs and expected outputs, .npz.")
    arguments = parser.parse_args()
    metadata = json.loads(pathlib.Path(arguments.model_dir, "metadata.json").read_text("utf-8"))
    cases = _load_cases(arguments.cases)
    by_loader = {
        name: list(checks.run(load(arguments.model_dir), cases, metadata, arguments.model_dir))
        for name, load in loaders.LOADERS.items()
    }
    rows = [("check", *by_loader)]
    for same in zip(*by_loader.values(), strict=True):
        rows.append((same[0].check, *(result.measured for result in same)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    results = [result for column in by_loader.values() for result in column]
    problems = [problem for result in results for problem in result.problems]
    problems += graph.graph_errors(arguments.model_dir)
    problems += [f"{name} was imported" for name in _PROJECT if name in sys.modules]
    print("\n".join(problems) or "graph: no random state, assignment, must-compile or Python")
    return int(bool(problems) or not all(result.passed for result in results))


def _load_cases(path: str) -> checks.Cases:
    cases: dict[str, tuple[dict, dict]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            signature, side, name = key.split("/")
            array = arrays[key]
            # NumPy files hold bytes of one length; WAV files end in zeros that it would cut off.
            array = np.array([*map(bytes, array)], object) if array.dtype.kind == "V" else array
            cases.setdefault(signature, ({}, {}))[side == "outputs"][name] = array
    return cases


if __name__ == "__main__":
    sys.exit(main())
