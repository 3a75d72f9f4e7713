"""Checks an exported model the way others will use it: in a fresh process, without this project.

    table = verify(version_dir, cases)

starts this file as a program of its own, which loads the model with `tf.saved_model.load` and with
the session loader of TensorFlow 1, as TensorFlow Serving does, compares what every signature gives
with what the live networks gave, and reads the graph for what model servers refuse or what would
make the output depend on more than the inputs. This file imports nothing of the project, so that
the program cannot use it unnoticed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

# Largest difference that rounding in another order explains, full scale being 1.
TOLERANCE = 1e-5

# Signature → its inputs and the outputs expected of it, both by name.
Cases = Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]

_PYTHON_OPS = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction")
_RANDOM_OPS = ("Multinomial", "TruncatedNormal", "ParameterizedTruncatedNormal", "RngReadAndSkip")


def verify(version_dir: str | os.PathLike, cases: Cases) -> str:
    """Checks an exported model in a fresh process, on the CPU.

    Args:
      version_dir: the SavedModel.
      cases: what to compare; the outputs computed on the CPU, for the same roundings.

    Returns:
      A table with the largest difference of each signature through each loader.

    Raises:
      ValueError: the model cannot be loaded, differs by more than `TOLERANCE`, or its graph holds
        what it must not; the message holds the table.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "cases.npz")
        np.savez(path, **dict(_flattened(cases)))
        # -P: this folder is not searched for modules, so `export` cannot be imported by its parts.
        command = [sys.executable, "-P", __file__, f"--model_dir={version_dir}", f"--cases={path}"]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
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
                yield f"{signature}/{side}/{name}", array


def _load_cases(path: str) -> Cases:
    cases: dict[str, tuple[dict, dict]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            signature, side, name = key.split("/")
            cases.setdefault(signature, ({}, {}))[side == "outputs"][name] = arrays[key]
    return cases


def _outputs_of_loader(model_dir: str, cases: Cases) -> Iterator[tuple[str, dict]]:
    """Outputs of every signature through tf.saved_model.load."""
    model = tf.saved_model.load(model_dir)
    for name, (inputs, _) in cases.items():
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        outputs = model.signatures[name](**tensors)
        yield name, {key: value.numpy() for key, value in outputs.items()}


def _outputs_of_session(model_dir: str, cases: Cases) -> Iterator[tuple[str, dict]]:
    """Outputs of every signature through the loader of TensorFlow 1, by tensor names."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], model_dir).signature_def
        for name, (inputs, _) in cases.items():
            feeds = {signatures[name].inputs[key].name: value for key, value in inputs.items()}
            fetches = {key: info.name for key, info in signatures[name].outputs.items()}
            yield name, session.run(fetches, feeds)


LOADERS = {"saved_model.load": _outputs_of_loader, "session": _outputs_of_session}


def largest_difference(
    outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> float:
    """Over all outputs; infinite if names or shapes differ, or anything is not a number."""
    if set(outputs) != set(expected):
        return np.inf
    differences = [0.0]
    for name, array in expected.items():
        if outputs[name].shape != array.shape:
            return np.inf
        differences.append(float(np.max(np.abs(outputs[name] - array), initial=0.0)))
    return np.inf if np.isnan(differences).any() else max(differences)


def graph_errors(model_dir: str | os.PathLike) -> Iterator[str]:
    """What the graphs of the signatures hold that they must not.

    Only what a signature reaches counts: the graph that restores the weights does assign them.
    """
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString(pathlib.Path(model_dir, "saved_model.pb").read_bytes())
    graph = saved_model.meta_graphs[0]
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    for name, signature in graph.signature_def.items():
        waiting = _ancestors(graph.graph_def.node, signature.outputs.values())
        seen = set()
        while waiting:
            node = waiting.pop()
            yield from (f"{name}: {problem}" for problem in _node_errors(node))
            for called in _called_functions(node) - seen:
                seen.add(called)
                waiting.extend(functions[called].node_def)
                if functions[called].attr["_XlaMustCompile"].b:
                    yield f"{name}: {called} must be compiled with XLA, which servers refuse"


def _ancestors(nodes, outputs) -> list:
    by_name = {node.name: node for node in nodes}
    waiting, found = [info.name.partition(":")[0] for info in outputs], {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = by_name[name]
            waiting += [source.lstrip("^").partition(":")[0] for source in by_name[name].input]
    return list(found.values())


def _called_functions(node) -> set[str]:
    called = {value.func.name for value in node.attr.values() if value.HasField("func")}
    for value in node.attr.values():
        called |= {function.name for function in value.list.func}
    return called


def _node_errors(node) -> Iterator[str]:
    if node.op.startswith(("Assign", "ResourceApply", "ResourceScatter")):
        yield f"{node.name} ({node.op}) changes a variable"
    is_call = node.op == "StatefulPartitionedCall"
    if node.op in _RANDOM_OPS or (node.op.startswith(("Random", "Stateful")) and not is_call):
        yield f"{node.name} ({node.op}) is random beyond its seed"
    if node.op in _PYTHON_OPS:
        yield f"{node.name} ({node.op}) calls Python"
    if node.attr["_XlaMustCompile"].b:
        yield f"{node.name} ({node.op}) must be compiled with XLA, which servers refuse"


def main() -> int:
    """Prints the table; the exit status is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model_dir", required=True, help="Folder with saved_model.pb.")
    parser.add_argument("--cases", required=True, help="Inputs and expected outputs, .npz.")
    arguments = parser.parse_args()
    cases = _load_cases(arguments.cases)
    differences = {
        (signature, loader): largest_difference(outputs, cases[signature][1])
        for loader, outputs_of in LOADERS.items()
        for signature, outputs in outputs_of(arguments.model_dir, cases)
    }
    print(f"{'signature':<18} {'loader':<18} largest difference")
    for (signature, loader), difference in differences.items():
        verdict = "" if difference <= TOLERANCE else f"  > {TOLERANCE:g}"
        print(f"{signature:<18} {loader:<18} {difference:.2e}{verdict}")
    problems = list(graph_errors(arguments.model_dir))
    problems += [f"{name} was imported" for name in ("musika_tf", "export") if name in sys.modules]
    print("\n".join(problems) or "graph: no random state, assignment, must-compile or Python")
    return int(bool(problems) or max(differences.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
