"""Writes the training step of a stage as a program for XLA, to train where there is no TensorFlow.

    musika-lower --preset=small --run_dir=runs/piano --stage=gan \
        --latent_dir=data/piano_latents --lowered_dir=lowered/gan

Nothing is trained, but the stage is started as by its training program: docs/elsewhere.md.
"""

from __future__ import annotations

import re

from absl import flags

from flags import adoption, paths, preset, saving
from flags import run as run_flags
from flags import system as system_flags
from flags import training as training_flags
from musika_tf.programs import common
from musika_tf.runs.run import Run
from musika_tf.runs.stages import STAGES
from musika_tf.training import lowering, stage

STAGE = flags.DEFINE_enum("stage", None, list(STAGES), "Stage to start.", required=True)
DATA_DIR = paths.define("data_dir", "Waveform shards, for a stage of the autoencoder.")
LATENT_DIR = paths.define("latent_dir", "Latent shards, for the stage gan.")
LOWERED_DIR = paths.define("lowered_dir", "New folder for the program.", required=True)


@common.program(preset.expand)
def run() -> None:
    """Starts the stage that the flags name, and lowers its step."""
    started = _start(Run(run_flags.RUN_DIR.value))
    lowering.lower(started.trainer, started.batches, started.folder, LOWERED_DIR.value)
    print(LOWERED_DIR.value)


def _start(run: Run) -> stage.StartedStage:
    training = training_flags.config(run.saved_training)
    shared = {
        "run": run,
        "training": training,
        "n_steps": training.n_steps_of(STAGE.value),
        "init_from": run_flags.INIT_FROM.value,
        "flags_text": saving.flags_into_string(),
    }
    if STAGE.value == "gan":
        common.require(LATENT_DIR, "what the stage gan learns")
        adopted = adoption.source()
        config = adoption.config(run, adopted)
        return stage.start_gan(
            latent_dir=LATENT_DIR.value, config=config, adopted=adopted, **shared
        )
    common.require(DATA_DIR, f"what the stage {STAGE.value} learns")
    level, phase = map(int, re.findall(r"\d", STAGE.value))
    return stage.start_autoencoder(
        data_dir=DATA_DIR.value,
        config=system_flags.config(run.saved_config),
        level=level,
        phase=phase,
        **shared,
    )


if __name__ == "__main__":
    run()
