"""Flags of `musika-generate`."""

from __future__ import annotations

from absl import flags

from flags import controls, paths
from musika_tf.generation import Request, parse_time

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
SECONDS = flags.DEFINE_float("seconds", Request.seconds, "Length of each sample, in seconds.")
START = flags.DEFINE_string(
    "start",
    "0",
    "Where in the piece to begin: seconds, or a time like 1:30 or 1:00:00. Any hour can be opened "
    "at once, and is what playing up to there would give.",
)
SEED = flags.DEFINE_integer(
    "seed",
    Request.seed,
    "Seed of the draw; the same seed gives the same music, and a longer piece of the same seed "
    "begins with the shorter one.",
)
TRUNCATION = flags.DEFINE_float(
    "truncation",
    Request.truncation,
    "Largest value of anchors and style, which are standard normal draws cut there: smaller is "
    "more stable, larger more varied.",
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


def request() -> Request:
    """What the flags ask for.

    Raises:
      ValueError: a value is out of range.
    """
    return Request(
        seconds=SECONDS.value,
        start_seconds=parse_time(START.value),
        seed=SEED.value,
        truncation=TRUNCATION.value,
        n_pieces=NUM_SAMPLES.value,
        controls=controls.texts(),
    )
