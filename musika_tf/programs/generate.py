"""Makes music of any length with a trained model; streams it to WAV or FLAC files.

    musika-generate --list
    musika-generate --model_dir=piano --out=music/piano.wav
    musika-generate --model_dir=models/piano --seconds=240 --seed=1 --num_samples=3 \
        --out=music/piano.flac
    musika-generate --model_dir=piano --tempo_bpm=80 --note_density=random_walk \
        --out=music/piano.flac
    musika-generate --model_dir=models/piano --seed=1 --start=1:00:00 --out=music/second_hour.flac

Ctrl-C ends early and leaves a complete file of what was made so far.
"""

from __future__ import annotations

from absl import flags

from flags import _sections, controls, paths
from musika_tf import generation
from musika_tf.conditioning.controls import untold
from musika_tf.generation import Request, parse_time
from musika_tf.player import open_player
from musika_tf.programs import common
from musika_tf.runs import shipped

LIST = flags.DEFINE_bool("list", False, "List the weights that can be given by name, and end.")
MODEL_DIR = paths.define_model(
    "model_dir",
    "A run or released weights, or the name of weights that ship, like piano. Or an exported "
    "model: a folder of versions, of which the newest is taken, or one version.",
)
OUT = paths.define(
    "out",
    "File to write, .wav or .flac; with several samples NAME-0.wav, NAME-1.wav, ...",
)
flags.register_multi_flags_validator(
    [LIST.name, MODEL_DIR.name, OUT.name],
    lambda values: values["list"] or (values["model_dir"] and values["out"]),
    "give --model_dir and --out; --list names the weights that ship",
)
START = flags.DEFINE_string(
    "start",
    "0",
    "Where in the piece to begin: seconds, or a time like 1:30 or 1:00:00. Any hour can be opened "
    "at once, and is what playing up to there would give.",
)
_request = _sections.define(
    Request,
    seconds="Length of each sample, in seconds.",
    seed="Seed of the draw; the same seed gives the same music, and a longer piece of the same "
    "seed begins with the shorter one.",
    truncation="Largest value of anchors and style, which are standard normal draws cut there: "
    "smaller is more stable, larger more varied.",
)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", Request.n_pieces, "Samples to make, each another piece."
)
PICTURE = flags.DEFINE_bool(
    "picture", False, "Also draw a log-mel picture of each sample, NAME.png, up to ten minutes."
)
JIT_COMPILE = flags.DEFINE_bool(
    "jit_compile",
    False,
    "Compile the networks with XLA, which takes seconds and pays for long pieces of lean networks.",
)


@common.program()
def run() -> None:
    """Generates what the flags ask for."""
    if LIST.value:
        print(shipped.listing())
        return
    request = _request(
        start_seconds=parse_time(START.value),
        n_pieces=NUM_SAMPLES.value,
        controls=controls.texts(),
    )
    player = open_player(MODEL_DIR.value, JIT_COMPILE.value)
    for line in untold(request.controls, player.config.conditioning.signals):
        print(line, flush=True)
    for report in generation.generate(player, request, OUT.value, PICTURE.value):
        print(report, flush=True)
        if not report.is_complete:
            raise KeyboardInterrupt


if __name__ == "__main__":
    run()
