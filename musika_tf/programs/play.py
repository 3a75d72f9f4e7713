"""Plays models in the browser, where they can be steered; builds the page once and keeps it.

    musika-play
    musika-play --model_dir=piano

Ctrl-C ends it.
"""

from __future__ import annotations

import contextlib
import webbrowser

from absl import logging

from export.web import site
from export.web.server import server
from flags import play as play_flags
from musika_tf.programs import common
from musika_tf.runs import shipped


@common.program()
def run() -> None:
    """Serves the page of the models that the flags name until it is told to stop."""
    logging.set_verbosity(logging.WARNING)
    models = site.named(play_flags.MODEL_DIRS.value or shipped.playable().values())
    folder = site.kept(models, play_flags.CACHE_DIR.value)
    with server(folder, play_flags.PORT.value) as serving:
        address = f"http://127.0.0.1:{serving.server_port}/"
        print(f"playing {', '.join(models)}: {address}", flush=True)
        if play_flags.BROWSER.value:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever()


if __name__ == "__main__":
    run()
