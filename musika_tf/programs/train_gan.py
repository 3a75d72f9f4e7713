"""Trains the latent GAN of a run on latent shards; run again to go on.

    musika-train-gan --flagfile=flags/presets/small.flags --run_dir=runs/piano \
        --latent_dir=data/piano_latents
"""

from __future__ import annotations

from flags import paths, saving
from flags import run as run_flags
from flags import system as system_flags
from flags import training as training_flags
from musika_tf import runs
from musika_tf.programs import common
from musika_tf.training import stages

LATENT_DIR = paths.define("latent_dir", "Latent shards.", required=True)
AUTOENCODER = paths.define(
    "autoencoder",
    "Another run, whose autoencoder made the latents: it is copied into this run.",
)


def main(argv: list[str]) -> None:
    """Trains with the settings that the flags give."""
    common.reject_arguments(argv)
    run_dir = run_flags.RUN_DIR.value
    training = training_flags.config(stages.saved_training(run_dir))
    with run_flags.strategy().scope():
        runs.train_gan(
            run_dir=run_dir,
            latent_dir=LATENT_DIR.value,
            config=system_flags.config(stages.saved_config(run_dir)),
            training=training,
            settings=run_flags.settings(training.gan_n_steps),
            autoencoder_dir=AUTOENCODER.value,
            init_from=run_flags.INIT_FROM.value,
            lower_to=run_flags.LOWER_TO.value,
            flags_text=saving.flags_into_string(),
        )


def run() -> None:
    """Console entry point."""
    common.run(main)


if __name__ == "__main__":
    run()
