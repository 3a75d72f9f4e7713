"""Makes a small folder of a trained run, to give away: weights in float16, and a card.

musika-release --run_dir=runs/piano --weights_dir=weights/piano --card=piano.md
"""

from __future__ import annotations

from absl import flags

from flags import paths
from musika_tf.programs import common
from musika_tf.runs import release
from musika_tf.runs.run import Run

RUN_DIR = paths.define(
    "run_dir", "Run folder with a trained autoencoder, and with a GAN or without.", required=True
)
WEIGHTS_DIR = paths.define("weights_dir", "Folder to write, like weights/piano.", required=True)
CARD = paths.define(
    "card",
    "Markdown file that the card begins with: what it was trained on and the licence of that, how "
    "good it is, known faults. What the run knows of its training is added.",
)
CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "newest",
    ("newest", "best"),
    "Which GAN to release: the newest, or the one whose latents were closest to held-out ones.",
)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace weights that are there.")


@common.program()
def run() -> None:
    """Releases the run that the flags name."""
    path = release.release(
        Run(RUN_DIR.value),
        WEIGHTS_DIR.value,
        card=CARD.value,
        with_best=CHECKPOINT.value == "best",
        overwrite=OVERWRITE.value,
    )
    print(path)


if __name__ == "__main__":
    run()
