"""Trains one stage of the tiny preset in a process of its own, to be killed or to have replicas.

    python tests/train_stage.py STAGE N_STEPS OUT [STRATEGY N_CPU_DEVICES]

Reads config.json and the shards `waveforms` and `latents` in the folder of OUT.
"""

from __future__ import annotations

import os
import pathlib
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tensorflow as tf

from musika_tf.audio import INT16_SCALE
from musika_tf.batches import LatentBatches, WaveformBatches
from musika_tf.config import Config, TrainingConfig
from musika_tf.shards import Shards
from musika_tf.training import distribution
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training.loop import LoopSettings, train

TRAINING = TrainingConfig(batch_size=4, learning_rate=1e-3)


def parts(stage: str, data: pathlib.Path):
    """Trainer and batches of a stage."""
    config = Config.from_json((data / "config.json").read_text())
    if stage == "gan":
        shards, length = Shards.open(data / "latents"), 2 * config.gan.seq_len
        held_out = shards.fixed_crops(2, length)
        trainer = GanTrainer(config=config, training=TRAINING, held_out=held_out)
        return trainer, LatentBatches(shards, TRAINING.batch_size, length, TRAINING.seed)
    shards, length = Shards.open(data / "waveforms"), config.audio.pair_n_samples
    trainer = AutoencoderTrainer(
        config=config,
        training=TRAINING,
        level=int(stage[5]),
        phase=int(stage[-1]),
        held_out=shards.fixed_crops(2, length)[:, :, 0] / INT16_SCALE,
    )
    return trainer, WaveformBatches(shards, TRAINING.batch_size, length, TRAINING.seed)


def main(stage: str, n_steps: str, out: str, strategy: str = "none", n_devices: str = "1") -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * int(n_devices))
    with distribution.make_strategy(strategy).scope():
        trainer, batches = parts(stage, pathlib.Path(out).parent)
        settings = LoopSettings(
            int(n_steps), n_steps_per_call=2, checkpoint_n_steps=2, sample_n_steps=50
        )
        train(trainer, batches, settings, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
