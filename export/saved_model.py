"""Run folder → SavedModel: `model_dir/<version>/` with saved_model.pb and metadata.json.

A version is made and checked in a temporary folder beside its place and then renamed, so that a
model server that watches `model_dir` never sees half a model, or one that does not work.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import litert, warmup
from export.metadata import describe
from export.schema import Signature
from export.signatures import Limits
from export.signatures import contract as build_contract
from export.verification import verify as verify_lib
from export.verification.checks import Cases
from musika_tf import files
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.player import METADATA_FILE, METADATA_FORMAT_VERSION
from musika_tf.runs.run import Run

# What exported decoders can compute in.
PRECISIONS = ("float32", "bfloat16")


def export(
    run: Run,
    model_dir: str | os.PathLike,
    verify: bool = True,
    with_best: bool = False,
    limits: Limits | None = None,
    precision: str = "float32",
    with_litert: bool = False,
) -> pathlib.Path:
    """Writes the next version of a model.

    Args:
      run: with a trained autoencoder and latent GAN.
      model_dir: base folder of the versions; made if missing.
      verify: load the version in a fresh process and compare before it gets its name; prints the
        table of differences.
      with_best: take the GAN of the best held-out metric instead of the newest.
      limits: what one request may ask for; by default those of `Limits`.
      precision: what the decoders compute in and their weights are kept in, of `PRECISIONS`.
      with_litert: put the networks for LiteRT beside it too, see `litert`.

    Returns:
      Folder of the new version, `model_dir/<integer>`.

    Raises:
      ValueError: a stage was not trained, or the version did not pass; nothing is left behind.
    """
    synthesizer = run.synthesizer(with_best, precision)
    limits, model_dir = limits or Limits(), pathlib.Path(model_dir)
    version = model_dir / str(_next_version(model_dir))
    with files.written_aside(version) as unfinished:
        contract = save(synthesizer, unfinished, limits)
        warmup.write(unfinished, contract)
        description = metadata(synthesizer, contract, limits, run.provenance(with_best))
        text = json.dumps(description, indent=2, ensure_ascii=False)
        (unfinished / METADATA_FILE).write_text(text + "\n", encoding="utf-8")
        if with_litert:
            in_float32 = run.synthesizer(with_best)
            litert.save(in_float32, unfinished / litert.FOLDER, run.provenance(with_best))
        if verify:
            print(verify_lib.verify(unfinished, cases(contract)), end="")
    return version


def _next_version(model_dir: pathlib.Path) -> int:
    versions = (int(path.name) for path in model_dir.glob("*") if path.name.isdecimal())
    return max(versions, default=0) + 1


def save(
    synthesizer: Synthesizer, path: str | os.PathLike, limits: Limits | None = None
) -> dict[str, Signature]:
    """Saves signatures and weights to the folder `path`, without metadata; returns the contract."""
    contract = build_contract(synthesizer, limits)
    module = tf.Module(name="musika")
    # The variables under Keras' own: session loaders do not find those that Keras wraps.
    module.weights = [v.value for network in synthesizer.networks.values() for v in network.weights]
    functions = {name: signature.traced() for name, signature in contract.items()}
    tf.saved_model.save(module, str(path), signatures=functions)
    _publish_input_shapes(pathlib.Path(path, "saved_model.pb"), contract)
    return contract


def _publish_input_shapes(path: pathlib.Path, contract: Mapping[str, Signature]) -> None:
    """Writes the shapes of the inputs into the signatures, where clients look for them.

    They are for reading only: the graph keeps accepting any shape, so that its checks can answer.
    """
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    definitions = saved_model.meta_graphs[0].signature_def
    for name, signature in contract.items():
        for input_name, port in signature.inputs.items():
            shape = definitions[name].inputs[input_name].tensor_shape
            shape.CopyFrom(port.static_shape.as_proto())
    path.write_bytes(saved_model.SerializeToString(deterministic=True))


def cases(contract: Mapping[str, Signature]) -> Cases:
    """Fixed inputs of every signature with what the live networks make of them, on the CPU."""
    found = {}
    with tf.device("/CPU:0"):
        for name, signature in contract.items():
            inputs = signature.example()
            outputs = signature.unchecked()(**{k: tf.constant(v) for k, v in inputs.items()})
            found[name] = inputs, {key: value.numpy() for key, value in outputs.items()}
    return found


def metadata(
    synthesizer: Synthesizer,
    contract: Mapping[str, Signature],
    limits: Limits,
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """What metadata.json says."""
    return {
        "format_version": METADATA_FORMAT_VERSION,
        "precision": synthesizer.precision,
        **describe(synthesizer, training),
        **dataclasses.asdict(limits),
        "max_anchors": limits.max_anchors(synthesizer.config),
        "signatures": {name: signature.as_dict() for name, signature in contract.items()},
    }
