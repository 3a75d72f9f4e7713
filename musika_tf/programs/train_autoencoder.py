"""Trains one stage of the audio autoencoder; run again to go on.

    musika-train-autoencoder --preset=small --run_dir=runs/piano --data_dir=data/piano \
        --level=1 --phase=1

The stages in their order: level 1 phase 1, level 1 phase 2, level 2 phase 1, level 2 phase 2.
"""

from __future__ import annotations

from absl import flags

from flags import loop as loop_flags
from flags import paths, preset, saving
from flags import run as run_flags
from flags import system as system_flags
from flags import training as training_flags
from musika_tf.programs import common
from musika_tf.runs.run import Run
from musika_tf.runs.stages import autoencoder_stage
from musika_tf.training import stage

DATA_DIR = paths.define("data_dir", "Waveform shards.", required=True)
LEVEL = flags.DEFINE_integer("level", None, "Autoencoder to train.", 1, 2, required=True)
PHASE = flags.DEFINE_integer("phase", None, "1: magnitudes; 2: waveforms.", 1, 2, required=True)


@common.program(preset.expand)
def run() -> None:
    """Trains the stage that the flags name."""
    run = Run(run_flags.RUN_DIR.value)
    training = training_flags.config(run.saved_training)
    name = autoencoder_stage(LEVEL.value, PHASE.value).name
    settings = loop_flags.settings(training.n_steps_of(name))
    with loop_flags.strategy().scope():
        started = stage.start_autoencoder(
            run=run,
            data_dir=DATA_DIR.value,
            config=system_flags.config(run.saved_config),
            training=training,
            level=LEVEL.value,
            phase=PHASE.value,
            n_steps=settings.n_steps,
            init_from=run_flags.INIT_FROM.value,
            flags_text=saving.flags_into_string(),
        )
        started.train(settings)


if __name__ == "__main__":
    run()
