"""Flags of `musika-serve`."""

from __future__ import annotations

from export.serving.settings import Settings
from flags import _sections, paths

MODEL_DIR = paths.define(
    "model_dir",
    "Exported model: a folder of versions. The newest is served; later ones are picked up.",
    required=True,
)

settings = _sections.define(
    Settings,
    model_name="Name under which clients ask for the model.",
    host="Address to listen on. Others than this machine's own reach the server without any "
    "password.",
    rest_port="REST; 0: a free one.",
    grpc_port="gRPC; 0: a free one.",
    max_concurrency="Requests that run at the same time.",
    max_queue="Requests that may wait; one more is refused at once.",
    max_listeners="Streams of the radio at the same time; one more is refused at once.",
    max_body_mib="Longest request.",
    max_response_mib="Largest answer, as tensors; in JSON it is some three times as long.",
    timeout_seconds="From request to answer, waiting included.",
    poll_seconds="How often to look for new versions.",
    grace_seconds="How long to wait for requests under way when told to stop.",
)
