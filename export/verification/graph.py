"""Reads the graph of an exported model for what it must not hold.

Model servers refuse some of it; the rest would make an output depend on more than the inputs.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

from tensorflow.core.protobuf import saved_model_pb2

_PYTHON_OPS = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction")
_RANDOM_OPS = ("Multinomial", "TruncatedNormal", "ParameterizedTruncatedNormal", "RngReadAndSkip")


def graph_errors(model_dir: str | os.PathLike) -> Iterator[str]:
    """What the graphs of the signatures hold that they must not.

    Only what a signature reaches counts: the graph that restores the weights does assign them.
    """
    content = pathlib.Path(model_dir, "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
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
