"""Makes a small folder of a trained run, to give away: weights in float16, and a card.

musika-release --run_dir=runs/piano --weights_dir=weights/piano --card=piano.md
"""

from __future__ import annotations

from flags import release as release_flags
from musika_tf.programs import common
from musika_tf.runs import release
from musika_tf.runs.run import Run


@common.program()
def run() -> None:
    """Releases the run that the flags name."""
    path = release.release(
        Run(release_flags.RUN_DIR.value),
        release_flags.WEIGHTS_DIR.value,
        card=release_flags.CARD.value,
        with_best=release_flags.CHECKPOINT.value == "best",
        overwrite=release_flags.OVERWRITE.value,
    )
    print(path)


if __name__ == "__main__":
    run()
