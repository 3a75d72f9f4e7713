"""Plays models in the browser, where they can be steered; builds the page once and keeps it.

    musika-play
    musika-play --model_dir=piano

Ctrl-C ends it.
"""

from __future__ import annotations

import contextlib
import os
import webbrowser

from absl import flags, logging

from export.web import site
from export.web.server import server
from flags import paths
from musika_tf.programs import common
from musika_tf.runs import shipped

MODEL_DIRS = paths.define_models(
    "model_dir",
    "Model to play: a run, released weights, or a model exported with --litert; may be repeated. "
    "Without it: all in weights/, here and in the project's checkout.",
)
CACHE_DIR = paths.define(
    "cache_dir",
    "Where pages are kept once they are built.",
    default=os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "musika_tf", "pages"),
)
PORT = flags.DEFINE_integer(
    "port", 8766, "Port of this machine at which the page is served; 0: a free one.", 0, 65535
)
BROWSER = flags.DEFINE_bool("browser", True, "Open the page in the browser.")


@common.program()
def run() -> None:
    """Serves the page of the models that the flags name until it is told to stop."""
    logging.set_verbosity(logging.WARNING)
    models = site.named(MODEL_DIRS.value or shipped.playable().values())
    folder = site.kept(models, CACHE_DIR.value)
    with server(folder, PORT.value) as serving:
        address = f"http://127.0.0.1:{serving.server_port}/"
        print(f"playing {', '.join(models)}: {address}", flush=True)
        if BROWSER.value:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever()


if __name__ == "__main__":
    run()
