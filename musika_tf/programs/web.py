"""Makes a page that plays models in its listeners' browsers: a static folder for any file host.

    musika-web --model_dir=piano --model_dir=techno --out=site
    python -m http.server --directory=site

Nothing is computed on the host; the page asks no other for anything.
"""

from __future__ import annotations

from absl import flags, logging

from export.web import site
from flags import paths
from musika_tf.programs import common

MODEL_DIRS = paths.define_models(
    "model_dir",
    "Model of the page: a run, released weights, or a model exported with --litert. Given several "
    "times, the page offers each; its name is that of its folder.",
)
OUT = paths.define("out", "Folder to write: any file host serves it.", required=True)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a folder that is there.")


@common.program()
def run() -> None:
    """Builds the page of the models that the flags name."""
    logging.set_verbosity(logging.WARNING)
    models = site.named(MODEL_DIRS.value)
    print(site.build(models, OUT.value, OVERWRITE.value))


if __name__ == "__main__":
    run()
