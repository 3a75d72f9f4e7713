"""Starting the stages of a run: data and config checked, weights of the stage before taken over."""

from __future__ import annotations

import os
import pathlib

from musika_tf.batches import INT16_SCALE, WaveformBatches
from musika_tf.config import AudioConfig, Config, TrainingConfig, require_equal, section_from_dict
from musika_tf.shards import Shards
from musika_tf.training import checkpoint, stages
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer, pair_n_samples
from musika_tf.training.loop import LoopSettings, train

# Held-out excerpts that every validation uses: this many, each of so many 0.76 s excerpts.
N_HELD_OUT = 8
HELD_OUT_N_EXCERPTS = 8


def train_autoencoder(
    *,
    run_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    config: Config,
    training: TrainingConfig,
    settings: LoopSettings,
    level: int,
    phase: int,
) -> int:
    """Trains one autoencoder stage, or goes on with it.

    Args:
      run_dir: run folder; made if missing.
      data_dir: waveform shards.
      config: the system; must be the one that the run was started with.
      training: how to train.
      settings: when to stop and to write.
      level, phase: 1 or 2.

    Returns:
      The step reached.

    Raises:
      ValueError: shards, run and config do not fit together, or the stage before is missing.
    """
    stage = stages.autoencoder_stage(level, phase)
    shards = open_waveforms(data_dir, config)
    stages.bind_config(run_dir, config)
    before = stages.checkpoint_of(run_dir, stage.needs) if stage.needs else None
    batches = WaveformBatches(shards, training.batch_size, pair_n_samples(config), training.seed)
    trainer = AutoencoderTrainer(
        config=config,
        training=training,
        level=level,
        phase=phase,
        held_out=held_out_waveforms(shards, config),
    )
    if before:
        checkpoint.load_networks(before, trainer.inherited_networks())
    return train(trainer, batches, settings, stages.stage_dir(run_dir, stage.name))


def open_waveforms(data_dir: str | os.PathLike, config: Config) -> Shards:
    """Opens waveform shards and checks that they are at the system's sample rate."""
    shards = Shards.open(data_dir)
    if shards.metadata.get("kind") != "waveform":
        raise ValueError(f"{data_dir} does not hold waveform shards: `musika-prepare` makes them")
    prepared = section_from_dict(AudioConfig, shards.metadata["audio"])
    require_equal(config.audio, prepared, "the run", str(pathlib.Path(data_dir)))
    return shards


def held_out_waveforms(shards: Shards, config: Config):
    """The left channel of the same validation excerpts every time, float32 [n, n_samples]."""
    audio = config.audio
    n_samples = HELD_OUT_N_EXCERPTS * audio.excerpt_n_samples + audio.overlap_size
    crops = shards.fixed_crops(N_HELD_OUT, n_samples)
    return crops[:, :, 0].astype("float32") / INT16_SCALE
