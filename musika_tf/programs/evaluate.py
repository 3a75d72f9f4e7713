"""Measures an exported model; writes tables, numbers and pictures to --out.

    musika-evaluate --model_dir=models/piano_note_density --out=evaluation --adherence

--adherence: does the music of a conditional model follow what it is told?
"""

from __future__ import annotations

import sys

from flags import evaluate as evaluate_flags
from musika_tf import generation
from musika_tf.evaluation import adherence_report
from musika_tf.programs import common

# What shells give to programs that Ctrl-C ended.
_INTERRUPTED = 130


def main(argv: list[str]) -> None:
    """Runs the evaluations that the flags ask for."""
    common.reject_arguments(argv)
    evaluate_flags.require_an_evaluation()
    settings = evaluate_flags.adherence_settings()
    try:
        model = generation.Model(evaluate_flags.MODEL_DIR.value)
        if evaluate_flags.ADHERENCE.value:
            tables = adherence_report.evaluate(
                model,
                settings,
                evaluate_flags.OUT.value,
                keep_audio=evaluate_flags.KEEP_AUDIO.value,
                overwrite=evaluate_flags.OVERWRITE.value,
            )
            print(tables, flush=True)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def run() -> None:
    """Console entry point."""
    common.run(main)


if __name__ == "__main__":
    run()
