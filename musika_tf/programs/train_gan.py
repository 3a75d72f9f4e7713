"""Trains the latent GAN of a run on latent shards; run again to go on.

musika-train-gan --preset=small --run_dir=runs/piano --latent_dir=data/piano_latents
"""

from __future__ import annotations

from flags import adoption, paths, preset, saving
from flags import loop as loop_flags
from flags import run as run_flags
from flags import training as training_flags
from musika_tf.programs import common
from musika_tf.runs.run import Run
from musika_tf.training import stage

LATENT_DIR = paths.define("latent_dir", "Latent shards.", required=True)


@common.program(preset.expand)
def run() -> None:
    """Trains with the settings that the flags give."""
    run = Run(run_flags.RUN_DIR.value)
    training = training_flags.config(run.saved_training)
    settings = loop_flags.settings(training.n_steps_of("gan"))
    adopted = adoption.source()
    with loop_flags.strategy().scope():
        started = stage.start_gan(
            run=run,
            latent_dir=LATENT_DIR.value,
            config=adoption.config(run, adopted),
            training=training,
            n_steps=settings.n_steps,
            adopted=adopted,
            init_from=run_flags.INIT_FROM.value,
            flags_text=saving.flags_into_string(),
        )
        started.train(settings)


if __name__ == "__main__":
    run()
