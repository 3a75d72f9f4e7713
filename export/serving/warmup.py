"""Warm-up: the requests that a model brings along are run before a version is used.

They lie where TensorFlow Serving looks for them, in the same format, and are treated alike: one
that fails makes the whole version unusable.
"""

from __future__ import annotations

import pathlib

import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import prediction_log_pb2

from export.serving import proto_tensors
from export.serving.servable import Servable
from export.verification.checks import WARMUP_FILE

# More are an error in TensorFlow Serving too: it is a warm-up, not a test.
MAX_RECORDS = 1000


def run(servable: Servable, version_dir: pathlib.Path, max_bytes: int) -> int:
    """Runs the recorded requests of a version.

    Args:
      servable: the version.
      version_dir: its folder.
      max_bytes: largest size of one input.

    Returns:
      How many were run; 0 where the version has none.

    Raises:
      ServingError, ValueError, tf.errors.OpError: a record is broken, or its request failed.
    """
    path = version_dir / WARMUP_FILE
    if not path.is_file():
        return 0
    n_run = 0
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        if n_run == MAX_RECORDS:
            raise ValueError(f"{path} holds more than {MAX_RECORDS} records")
        _replay(servable, record, max_bytes)
        n_run += 1
    return n_run


def _replay(servable: Servable, record: bytes, max_bytes: int) -> None:
    log = prediction_log_pb2.PredictionLog.FromString(record)
    if log.WhichOneof("log_type") != "predict_log":
        logging.warning("warm-up record of kind %s is left out", log.WhichOneof("log_type"))
        return
    request = log.predict_log.request
    signature = servable.signature(request.model_spec.signature_name)
    signature(proto_tensors.arrays(request.inputs, signature, max_bytes))
