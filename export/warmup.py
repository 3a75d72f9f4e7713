"""Requests with which a model server warms a version up before its first user comes."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.schema import Signature
from export.verification.checks import WARMUP_FILE


def write(version_dir: str | os.PathLike, contract: Mapping[str, Signature]) -> None:
    """Writes one request a signature, of one row, to where TensorFlow Serving looks for them."""
    path = pathlib.Path(version_dir, WARMUP_FILE)
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in contract.items():
            writer.write(_record(name, signature).SerializeToString(deterministic=True))


def _record(name: str, signature: Signature) -> prediction_log_pb2.PredictionLog:
    # Servers answer it with the version that they are loading: it names no model.
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = name
    for input_name, value in signature.example(batch_size=1).items():
        request.inputs[input_name].CopyFrom(tf.make_tensor_proto(value))
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log)
