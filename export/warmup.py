"""Requests with which a model server warms a version up before its first user comes."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Mapping

import tensorflow as tf

from export.schema import Signature
from export.verification.checks import WARMUP_FILE


def write(version_dir: str | os.PathLike, contract: Mapping[str, Signature]) -> None:
    """Writes one request a signature, of one row, to where TensorFlow Serving looks for them.

    Without TensorFlow Serving's messages it says so instead: the first requests will be slower.
    """
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        print(
            "without warm-up requests for model servers: they need, in the repository, "
            "pip install '.[serving]'",
            file=sys.stderr,
        )
        return
    path = pathlib.Path(version_dir, WARMUP_FILE)
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in contract.items():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            # Servers answer it with the version that they are loading: it names no model.
            request.model_spec.signature_name = name
            for input_name, value in signature.example(batch_size=1).items():
                request.inputs[input_name].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString(deterministic=True))
