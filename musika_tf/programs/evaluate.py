"""Measures a trained model; writes tables, numbers, pictures and a page with sound to --out.

    musika-evaluate --run_dir=weights/piano --data_dir=data/piano_test --out=report
    musika-evaluate --model_dir=piano --out=report --adherence
    musika-evaluate --run_dir=runs/piano --data_dir=data/piano --out=report --quality

The first makes the whole report of a run or of released weights: samples, long pieces, distances to
real music as other networks hear it, speed, and both of what follows; open report/index.html.
--adherence: does the music of a conditional model follow its conditioning?
--quality: how near is what a run decodes and generates to held-out music?
"""

from __future__ import annotations

from flags import evaluate as evaluate_flags
from musika_tf.evaluation import adherence_report, quality_report, references, report
from musika_tf.player import open_player
from musika_tf.programs import common
from musika_tf.runs.run import Run


@common.program()
def run() -> None:
    """Runs the evaluations that the flags ask for."""
    evaluate_flags.require_folders()
    if evaluate_flags.is_whole_report():
        print(_report(), flush=True)
    if evaluate_flags.ADHERENCE.value:
        print(_adherence(), flush=True)
    if evaluate_flags.QUALITY.value:
        print(_quality(), flush=True)


def _report() -> str:
    return report.evaluate(
        Run(evaluate_flags.RUN_DIR.value),
        evaluate_flags.DATA_DIR.value,
        evaluate_flags.settings(),
        evaluate_flags.opened_embeddings(),
        evaluate_flags.OUT.value,
        overwrite=evaluate_flags.OVERWRITE.value,
    )


def _adherence() -> str:
    settings = evaluate_flags.adherence_settings()
    player = open_player(evaluate_flags.MODEL_DIR.value)
    data_dir, run_dir = evaluate_flags.DATA_DIR.value, evaluate_flags.RUN_DIR.value
    found = None
    if data_dir:
        autoencoder = Run(run_dir).autoencoder() if run_dir else None
        found = references.measure(player.config, settings.request.seconds, data_dir, autoencoder)
    return adherence_report.evaluate(
        player,
        settings,
        evaluate_flags.OUT.value,
        references=found,
        keep_audio=evaluate_flags.KEEP_AUDIO.value,
        overwrite=evaluate_flags.OVERWRITE.value,
    )


def _quality() -> str:
    return quality_report.evaluate(
        Run(evaluate_flags.RUN_DIR.value),
        evaluate_flags.DATA_DIR.value,
        evaluate_flags.request(),
        evaluate_flags.OUT.value,
        overwrite=evaluate_flags.OVERWRITE.value,
    )


if __name__ == "__main__":
    run()
