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
    width = max(len(result.check) for results in by_loader.values() for result in results)
    print(f"{'check':<{width}}  {'loader':<16}  result")
    for results in zip(*by_loader.values(), strict=True):
        for loader, result in zip(by_loader, results, strict=True):
            print(f"{result.check:<{width}}  {loader:<16}  {result.figure}")
    problems = list(graph.graph_errors(arguments.model_dir))
    problems += [f"{name} was imported" for name in _PROJECT if name in sys.modules]
    print("\n".join(problems) or "graph: no random state, assignment, must-compile or Python")
    passed = all(result.passed for results in by_loader.values() for result in results)
    return int(bool(problems) or not passed)


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
