"""Flags of `musika-serve`."""

from __future__ import annotations

import dataclasses

from absl import flags

from export.serving.settings import Settings
from flags import paths

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}

MODEL_DIR = paths.define(
    "model_dir",
    "Exported model: a folder of versions. The newest is served; later ones are picked up.",
    required=True,
)
MODEL_NAME = flags.DEFINE_string(
    "model_name", _DEFAULTS["model_name"], "Name under which clients ask for the model."
)
HOST = flags.DEFINE_string(
    "host",
    _DEFAULTS["host"],
    "Address to listen on. Others than this machine's own reach the server without any password.",
)
REST_PORT = flags.DEFINE_integer("rest_port", _DEFAULTS["rest_port"], "REST; 0: a free one.")
GRPC_PORT = flags.DEFINE_integer("grpc_port", _DEFAULTS["grpc_port"], "gRPC; 0: a free one.")
MAX_CONCURRENCY = flags.DEFINE_integer(
    "max_concurrency", _DEFAULTS["max_concurrency"], "Requests that run at the same time."
)
MAX_QUEUE = flags.DEFINE_integer(
    "max_queue", _DEFAULTS["max_queue"], "Requests that may wait; one more is refused at once."
)
MAX_BODY_MIB = flags.DEFINE_float("max_body_mib", _DEFAULTS["max_body_mib"], "Longest request.")
MAX_RESPONSE_MIB = flags.DEFINE_float(
    "max_response_mib",
    _DEFAULTS["max_response_mib"],
    "Largest answer, as tensors; in JSON it is some three times as long.",
)
TIMEOUT_SECONDS = flags.DEFINE_float(
    "timeout_seconds", _DEFAULTS["timeout_seconds"], "From request to answer, waiting included."
)
POLL_SECONDS = flags.DEFINE_float(
    "poll_seconds", _DEFAULTS["poll_seconds"], "How often to look for new versions."
)
GRACE_SECONDS = flags.DEFINE_float(
    "grace_seconds",
    _DEFAULTS["grace_seconds"],
    "How long to wait for requests under way when told to stop.",
)


def settings() -> Settings:
    """What the flags ask for.

    Raises:
      ValueError: a value is out of range.
    """
    return Settings(**{name: flags.FLAGS[name].value for name in _DEFAULTS})
