"""Flags of `musika-evaluate`."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from flags import paths
from musika_tf.conditioning import onsets
from musika_tf.evaluation.adherence import Settings
from musika_tf.generation import Request

_AUTO = "auto"


def _texts(numbers: Sequence[float]) -> list[str]:
    return [f"{number:g}" for number in numbers]


MODEL_DIR = paths.define(
    "model_dir",
    "Exported model: a folder of versions, of which the newest is taken, or one version. Or a run, "
    "or released weights.",
    required=True,
)
OUT = paths.define("out", "Folder of the tables, numbers and pictures.", required=True)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace an evaluation that is there.")
ADHERENCE = flags.DEFINE_bool(
    "adherence",
    False,
    "Evaluate whether the music of a conditional model follows what it is told: note density and "
    "tempo are measured as training data are labelled.",
)
SECONDS = flags.DEFINE_float("seconds", Settings.request.seconds, "Length of each sample.")
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples",
    Settings.request.n_samples,
    "Samples a constant; they have the same anchors and styles at each.",
)
NUM_WALKS = flags.DEFINE_integer(
    "num_walks",
    Settings.n_walks,
    "Samples that are told a random walk of note density, between the least and the greatest "
    "constant.",
)
SEED = flags.DEFINE_integer("seed", Settings.request.seed, "Seed of the samples.")
TRUNCATION = flags.DEFINE_float(
    "truncation",
    Settings.request.truncation,
    "Largest value of anchors and style, which are standard normal draws cut there.",
)
NOTE_DENSITIES = flags.DEFINE_list(
    "note_densities", _texts(Settings.note_densities), "Constants of note density to ask for."
)
TEMPOS_BPM = flags.DEFINE_list(
    "tempos_bpm", _texts(Settings.tempos_bpm), "Constant tempos to ask for, in BPM."
)
ONSET_DETECTOR = flags.DEFINE_enum(
    "onset_detector",
    _AUTO,
    [_AUTO, *onsets.DETECTORS],
    "Who finds note onsets; best the one that labelled the training data. auto: madmom where it is "
    "installed.",
)
KEEP_AUDIO = flags.DEFINE_bool("keep_audio", False, "Also keep the samples, as WAV files.")

_EVALUATIONS = (ADHERENCE,)


def require_an_evaluation() -> None:
    """Raises ValueError if no evaluation is asked for."""
    if not any(flag.value for flag in _EVALUATIONS):
        names = " or ".join(f"--{flag.name}" for flag in _EVALUATIONS)
        raise ValueError(f"nothing to evaluate: give {names}")


def adherence_settings() -> Settings:
    """What `--adherence` asks of the model.

    Raises:
      ValueError: a value is out of range or no number, or the detector is not installed.
    """
    detector = ONSET_DETECTOR.value
    return Settings(
        request=Request(
            seconds=SECONDS.value,
            seed=SEED.value,
            truncation=TRUNCATION.value,
            n_samples=NUM_SAMPLES.value,
        ),
        n_walks=NUM_WALKS.value,
        note_densities=_numbers(NOTE_DENSITIES),
        tempos_bpm=_numbers(TEMPOS_BPM),
        onset_detector=None if detector == _AUTO else detector,
    )


def _numbers(flag: flags.FlagHolder[Sequence[str]]) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in flag.value)
    except ValueError as error:
        raise ValueError(f"--{flag.name} must be numbers between commas: {error}") from None
