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

from flags import serve as serve_flags
from musika_tf.programs import common


@common.program()
def run() -> None:
    """Serves until it is told to stop."""
    settings = serve_flags.settings()
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
