"""Serves an exported model by REST and gRPC as TensorFlow Serving does, on this machine.

    musika-export --run_dir=weights/piano --model_dir=models/piano
    musika-serve --model_dir=models/piano
    curl http://127.0.0.1:8501/v1/models/musika/metadata

SIGTERM or Ctrl-C answers the requests under way and ends; a second one ends at once. Production
runs TensorFlow Serving: docs/serving.md has the commands.
"""

from __future__ import annotations

import logging
import signal
import threading

from absl import logging as absl_logging

from export.serving.settings import Settings
from flags import _sections, paths
from musika_tf.programs import common

MODEL_DIR = paths.define(
    "model_dir",
    "Exported model: a folder of versions. The newest is served; later ones are picked up.",
    required=True,
)

_settings = _sections.define(
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


@common.program()
def run() -> None:
    """Serves until it is told to stop."""
    settings = _settings()
    try:
        from export.serving.server import Server
    except ImportError as error:
        raise ValueError(f"{error}: in the repository, pip install '.[serving]'") from None
    absl_logging.set_verbosity(absl_logging.INFO)
    # TensorFlow would have the loader that its own server uses replaced by one that leaks.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    stopped = threading.Event()

    def stop(*_) -> None:
        stopped.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with Server(settings) as server:
        name = settings.model_name
        print(f"serving {name} version {server.version}: {server.address}", flush=True)
        stopped.wait()


if __name__ == "__main__":
    run()
