"""Makes a model that plays of a folder of audio, in a given time.

    musika-train --audio_dir=~/Music/mine --name=mine --hours=8
    musika-generate --model_dir=mine --seconds=240 --out=mine.flac

The audio is prepared and encoded by an autoencoder that ships; the GAN is trained, begun with one
that ships if one fits; the best of it becomes weights/NAME, with a card on which it stands beside
what it began with, measured on music that was held out. Ctrl-C leaves everything so that the same
command goes on.

    musika-train --audio_dir=~/Music/mine --name=mine --hours=8 --conditioning=beats
    musika-train --audio_dir=~/Music/mine --name=mine --hours=100 --from_scratch

With conditioning, beats are found first and the music follows a tempo. From scratch the autoencoder
is trained too.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from flags import paths, preset, recordings, saving, system, training
from musika_tf.config import ConditioningConfig
from musika_tf.data import annotation
from musika_tf.programs import common
from musika_tf.runs import shipped

# What holds where nothing else is said: of music of any kind.
_PRESET = "small_techno"
_AUTOENCODER = "universal"
# Of no effect on what is learnt.
_FREE = ("n_workers", "stuck_after_seconds")

NAME = flags.DEFINE_string("name", None, "What the model is to be called.", required=True)
HOURS = flags.DEFINE_float(
    "hours",
    8.0,
    "Wall time for everything together, over all starts. The lengths of the trainings follow from "
    "it and from the pace of this machine.",
)
FROM_SCRATCH = flags.DEFINE_bool(
    "from_scratch", False, "Train the autoencoder too, on this audio: the paper's whole chain."
)
AUTOENCODER = paths.define_model(
    "autoencoder",
    "Run or released weights, or their name, whose autoencoder is taken; without it, that of "
    f"{_AUTOENCODER}.",
)
INIT_FROM = paths.define_model(
    "init_from",
    "Run or released weights, or their name, whose GAN to begin with; it may follow other signals. "
    "Without it: of those that ship on the same encoders and in the sizes that are asked for, the "
    "one that is nearest to the music of the folder; where there is none, random weights.",
)
RUNS_DIR = paths.define("runs_dir", "Where the run's folder NAME is made.", default="runs")
WEIGHTS_DIR = paths.define(
    "weights_dir", "Where the weights' folder NAME is made.", default=shipped.WEIGHTS_DIR
)


def _expand(words: Sequence[str]) -> list[str]:
    preset.set_defaults(_PRESET)
    return preset.expand(words)


@common.program(_expand)
def run() -> None:
    """Trains what the flags ask for."""
    # Not at the start: workers import this module again, and have no use for TensorFlow.
    from musika_tf.chain.chain import Chain
    from musika_tf.chain.order import Order
    from musika_tf.runs.run import Run

    with common.told_when_stopped("stopped; the same command goes on from here"):
        autoencoder = _autoencoder()
        init_from = Run(INIT_FROM.value) if INIT_FROM.value else None
        begun = Run(f"{RUNS_DIR.value}/{NAME.value}").saved_training
        labels = recordings.labels()
        conditioning = system.config(init_from and init_from.config).conditioning
        order = Order(
            name=NAME.value,
            hours=HOURS.value,
            recordings=recordings.recordings(),
            asked=_given(),
            config_like=lambda saved, adopted: system.config(saved, adopted=adopted),
            training=training.config(begun),
            autoencoder=autoencoder and Run(autoencoder),
            init_from=init_from,
            annotators=_annotators(conditioning, labels),
            labels=labels,
            validation_share=flags.FLAGS.validation_share,
            stuck_after_seconds=flags.FLAGS.stuck_after_seconds,
            n_workers=flags.FLAGS.n_workers,
            runs_dir=RUNS_DIR.value,
            weights_dir=WEIGHTS_DIR.value,
            flags_text=saving.flags_into_string(),
        )
        weights_dir = Chain(order).run()
    print(f"play it: musika-generate --model_dir={weights_dir} --seconds=240 --out=music.flac")


def _autoencoder() -> str | None:
    """Its folder; None from scratch."""
    if FROM_SCRATCH.value and AUTOENCODER.value:
        raise ValueError("--autoencoder is that of another run: leave it or --from_scratch out")
    return None if FROM_SCRATCH.value else AUTOENCODER.value or str(shipped.find(_AUTOENCODER))


def _annotators(conditioning: ConditioningConfig, labels) -> list[annotation.Annotator]:
    """Those of the signals that are not labelled."""
    wanted = [name for name in conditioning.names if name not in labels]
    for name in wanted:
        if name not in annotation.ANNOTATOR_OF:
            raise ValueError(f"nothing estimates {name}: give --labels={name}=FILE.csv")
    annotators = [annotation.ANNOTATOR_OF[name] for name in wanted]
    return annotation.annotators(annotators, *recordings.detectors())


def _given() -> dict[str, str]:
    """The flags that were given, by name, as they can be written."""
    modules = flags.FLAGS.flags_by_module_dict().items()
    own = [flag for module, defined in modules if saving.is_own(module) for flag in defined]
    return {f.name: f.serialize() for f in own if f.present and f.name not in _FREE}


if __name__ == "__main__":
    run()
