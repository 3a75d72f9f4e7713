"""Makes a page that plays models in its listeners' browsers: a static folder for any file host.

    musika-web --model_dir=piano --model_dir=techno --out=site
    python -m http.server --directory=site

Nothing is computed on the host; the page asks no other for anything.
"""

from __future__ import annotations

from absl import logging

from export.web import site
from flags import web as web_flags
from musika_tf.programs import common


@common.program()
def run() -> None:
    """Builds the page of the models that the flags name."""
    logging.set_verbosity(logging.WARNING)
    models = site.named(web_flags.MODEL_DIRS.value)
    print(site.build(models, web_flags.OUT.value, web_flags.OVERWRITE.value))


if __name__ == "__main__":
    run()
