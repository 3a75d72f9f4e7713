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

from collections.abc import Sequence

from absl import flags

from flags import _sections, paths
from musika_tf.conditioning import onsets
from musika_tf.evaluation import (
    adherence,
    adherence_report,
    calibration,
    embeddings,
    quality_report,
    references,
    report,
)
from musika_tf.generation import Request
from musika_tf.player import open_player
from musika_tf.programs import common
from musika_tf.runs.run import Run

_AUTO = "auto"

MODEL_DIR = paths.define_model(
    "model_dir",
    "Exported model: a folder of versions, of which the newest is taken, or one version; or a run, "
    "or released weights. For --adherence.",
)
RUN_DIR = paths.define_model(
    "run_dir",
    "Run folder with a trained autoencoder and latent GAN, or released weights. For the whole "
    "report and --quality; --adherence tells what its autoencoder leaves of the tempo strength of "
    "held-out music.",
)
DATA_DIR = paths.define(
    "data_dir",
    "Waveform shards, best those that the run was trained with: the validation split is what music "
    "should sound like, the training split what must not be copied. For the whole report and "
    "--quality; --adherence tells the tempo strength of held-out music, and how well constants "
    "inside the range of the training labels are followed.",
)
OUT = paths.define("out", "Folder of the tables, numbers, pictures and audio.", required=True)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an evaluation that is there.")
ADHERENCE = flags.DEFINE_bool(
    "adherence",
    False,
    "Evaluate whether the music of a conditional model follows its conditioning: note density and "
    "tempo are measured as training data are labelled.",
)
QUALITY = flags.DEFINE_bool(
    "quality",
    False,
    "Evaluate how good a run is on held-out music: what its autoencoder keeps, and how what it "
    "generates differs from real music, in sound and in latents.",
)
NUM_LONG = flags.DEFINE_integer(
    "num_long", report.Settings.n_long, "Long pieces of the whole report."
)
_report_settings = _sections.define(
    report.Settings,
    long_seconds="Length of each long piece of the whole report.",
    stream_seconds="How much the whole report plays to see how fast a model is and whether memory "
    "grows.",
    keep_real="Let the whole report keep and show audio of held-out music and of its "
    "reconstruction: where its licence allows that.",
)
EMBEDDINGS = flags.DEFINE_list(
    "embeddings",
    list(embeddings.TAGGERS[:1]),
    "Taggers of the package musicnn whose hearing the whole report compares music by: "
    f"{', '.join(embeddings.TAGGERS)}. It is got by `{embeddings.INSTALL}`.",
)
VGGISH_DIR = paths.define(
    "vggish_dir", "SavedModel of VGGish, the paper's, whose hearing the whole report adds."
)
_request = _sections.define(
    Request,
    seconds="Length of each sample; for --quality also of the held-out crops beside them.",
    seed="Seed of the samples.",
    truncation="Largest value of anchors and style, which are standard normal draws cut there.",
)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples",
    adherence.Settings.request.n_pieces,
    "Samples a constant, with the same anchors and styles at each; for --quality samples in all, "
    "and as many held-out crops.",
)
NUM_WALKS = flags.DEFINE_integer(
    "num_walks",
    adherence.Settings.n_walks,
    "Samples that are to follow a random walk of note density, between the least and the greatest "
    "constant.",
)
NOTE_DENSITIES = flags.DEFINE_list(
    "note_densities",
    [],
    "Constants of note density to ask for; none: five over the middle two thirds of the model's "
    "range.",
)
TEMPOS_BPM = flags.DEFINE_list(
    "tempos_bpm",
    [],
    "Constant tempos to ask for, in BPM; none: nine over the middle two thirds of the model's "
    "range.",
)
ONSET_DETECTOR = flags.DEFINE_enum(
    "onset_detector",
    _AUTO,
    [_AUTO, *onsets.DETECTORS],
    "Who finds note onsets. auto: madmom where it is installed; librosa's also hears what wavers "
    "far below the notes of generated music.",
)
CALIBRATE = flags.DEFINE_bool(
    "calibrate",
    False,
    "After --adherence of a run or of released weights, keep in their config what was heard of "
    "each constant of note density: from then on what is asked for is what is heard. Ask for many: "
    "--note_densities=0,0.1,0.2 and so on.",
)
KEEP_AUDIO = flags.DEFINE_bool(
    "keep_audio",
    False,
    "Also keep the samples of --adherence, as WAV files; others always keep theirs.",
)


@common.program()
def run() -> None:
    """Runs the evaluations that the flags ask for."""
    is_whole_report = not (ADHERENCE.value or QUALITY.value)
    if CALIBRATE.value and not (ADHERENCE.value and Run(MODEL_DIR.value or "").saved_config):
        raise ValueError(
            "--calibrate keeps what --adherence hears in the config of a run or of released "
            f"weights: give both, and --model_dir={MODEL_DIR.value} must be such a folder"
        )
    lacks = []
    for is_asked, what, needed in (
        (ADHERENCE.value, "--adherence", (MODEL_DIR,)),
        (QUALITY.value, "--quality", (RUN_DIR, DATA_DIR)),
        (is_whole_report, "the whole report", (RUN_DIR, DATA_DIR)),
    ):
        missing = [f"--{flag.name}" for flag in needed if flag.value is None]
        if is_asked and missing:
            lacks.append(f"{what} needs {' and '.join(missing)}")
    if lacks:
        raise ValueError("; ".join(lacks))
    if is_whole_report:
        print(_report(), flush=True)
    if ADHERENCE.value:
        print(_adherence(), flush=True)
    if CALIBRATE.value:
        print(calibration.keep(Run(MODEL_DIR.value), OUT.value), flush=True)
    if QUALITY.value:
        run, asked = Run(RUN_DIR.value), _samples()
        text = quality_report.evaluate(run, DATA_DIR.value, asked, OUT.value, OVERWRITE.value)
        print(text, flush=True)


def _report() -> str:
    run = Run(RUN_DIR.value)
    settings = _report_settings(adherence=_adherence_settings(), n_long=NUM_LONG.value)
    heard = embeddings.open_all(EMBEDDINGS.value, VGGISH_DIR.value)
    return report.evaluate(run, DATA_DIR.value, settings, heard, OUT.value, OVERWRITE.value)


def _adherence() -> str:
    settings = _adherence_settings()
    player = open_player(MODEL_DIR.value)
    data_dir, run_dir = DATA_DIR.value, RUN_DIR.value
    found = None
    if data_dir:
        autoencoder = Run(run_dir).autoencoder() if run_dir else None
        found = references.measure(player.config, settings.request.seconds, data_dir, autoencoder)
    return adherence_report.evaluate(
        player, settings, OUT.value, found, KEEP_AUDIO.value, OVERWRITE.value
    )


def _adherence_settings() -> adherence.Settings:
    name = None if ONSET_DETECTOR.value == _AUTO else ONSET_DETECTOR.value
    return adherence.Settings(
        _samples(),
        NUM_WALKS.value,
        _numbers(NOTE_DENSITIES),
        _numbers(TEMPOS_BPM),
        onsets.installed_detector(name),
    )


def _samples() -> Request:
    return _request(n_pieces=NUM_SAMPLES.value, start_seconds=0.0, controls={})


def _numbers(flag: flags.FlagHolder[Sequence[str]]) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in flag.value)
    except ValueError as error:
        raise ValueError(f"--{flag.name} must be numbers between commas: {error}") from None


if __name__ == "__main__":
    run()
