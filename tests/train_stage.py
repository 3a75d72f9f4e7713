"""Trains one stage of the tiny preset in a process of its own, to be killed or to have replicas.

Reads config.json and the shards `waveforms` and `latents` in the folder of OUT.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tensorflow as tf

from musika_tf.config import INT16_SCALE, ConditioningConfig, Config
from musika_tf.data.batches import LatentBatches, WaveformBatches
from musika_tf.data.shards import Shards
from musika_tf.signals import KNOWN_SIGNALS
from musika_tf.training import devices, lowering
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training.loop import LoopSettings, train
from musika_tf.training.trainer import Samples
from musika_tf.training_config import TrainingConfig

# The discriminator takes part in every other step.
TRAINING = TrainingConfig(batch_size=4, learning_rate=1e-3, adversarial_start_share=0.0)


def parts(stage: str, n_steps: int, data: pathlib.Path):
    """Trainer and batches of a stage of so many steps."""
    config = Config.from_json((data / "config.json").read_text())
    if stage == "conditional_gan":
        conditioning = ConditioningConfig((KNOWN_SIGNALS["note_density"],))
        config = dataclasses.replace(config, conditioning=conditioning)
    if stage.endswith("gan"):
        return gan_parts(config, n_steps, Shards.open(data / "latents"))
    shards, length = Shards.open(data / "waveforms"), config.audio.pair_n_samples
    trainer = AutoencoderTrainer(
        config=config,
        training=TRAINING,
        level=int(stage[5]),
        phase=int(stage[-1]),
        held_out=shards.fixed_crops(2, length)[:, :, 0] / INT16_SCALE,
        n_steps=n_steps,
    )
    return trainer, WaveformBatches(shards, TRAINING.batch_size, length, TRAINING.seed)


def gan_parts(config: Config, n_steps: int, shards: Shards):
    length, context = 2 * config.gan.seq_len, config.gan.context_n_steps
    sizes = TRAINING.batch_size, length, TRAINING.seed
    batches = LatentBatches(shards, *sizes, config.conditioning, context)
    positions = shards.fixed_positions(2, length)
    trainer = GanTrainer(
        config=config,
        training=TRAINING,
        held_out=shards.crops(positions, length),
        held_out_conditioning=batches.signals and batches.signals.crops(positions, length, context),
        n_steps=n_steps,
    )
    return trainer, batches


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("n_steps", type=int)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--strategy", default="none")
    parser.add_argument("--n_devices", type=int, default=1)
    parser.add_argument("--xla", default="off")
    parser.add_argument("--lower_to", type=pathlib.Path)
    args = parser.parse_args()
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * args.n_devices
    tf.config.set_logical_device_configuration(cpu, logical)
    with devices.make_strategy(args.strategy).scope():
        trainer, batches = parts(args.stage, args.n_steps, args.out.parent)
        # Sound and pictures in logs would take most of the time.
        trainer.sample = lambda: Samples({}, trainer.config.audio.sample_rate_hz)
        settings = LoopSettings(
            args.n_steps,
            n_steps_per_call=2,
            checkpoint_n_steps=2,
            sample_n_steps=50,
            xla=args.xla,
        )
        if args.lower_to:
            lowering.lower(trainer, batches, args.out, args.lower_to)
        else:
            train(trainer, batches, settings, args.out)


if __name__ == "__main__":
    main()
