"""Flags of the training loop: how long, how often to write, on what devices."""

from __future__ import annotations

import tensorflow as tf
from absl import flags

from musika_tf.training import devices
from musika_tf.training.loop import XLA_CHOICES, LoopSettings

N_STEPS = flags.DEFINE_integer(
    "n_steps", None, "Length of this stage in steps, in place of the preset's.", lower_bound=1
)
MAX_MINUTES = flags.DEFINE_float(
    "max_minutes",
    LoopSettings.max_minutes,
    "Stop after so many minutes, with a checkpoint; the same command goes on from there.",
    lower_bound=0.0,
)
N_STEPS_PER_CALL = flags.DEFINE_integer(
    "n_steps_per_call",
    LoopSettings.n_steps_per_call,
    "Steps inside one compiled call; curves have one point a call.",
    lower_bound=1,
)
CHECKPOINT_N_STEPS = flags.DEFINE_integer(
    "checkpoint_n_steps",
    LoopSettings.checkpoint_n_steps,
    "Steps between two checkpoints.",
    lower_bound=1,
)
SAMPLE_N_STEPS = flags.DEFINE_integer(
    "sample_n_steps",
    LoopSettings.sample_n_steps,
    "Steps between two validations with audio and pictures.",
    lower_bound=1,
)
MAX_SKIPPED_STEPS = flags.DEFINE_integer(
    "max_skipped_steps",
    LoopSettings.max_skipped_steps,
    "Stop after so many steps in a row whose losses or gradients are not finite; such steps are "
    "skipped and counted.",
    lower_bound=1,
)
XLA = flags.DEFINE_enum(
    "xla",
    LoopSettings.xla,
    XLA_CHOICES,
    "Compile the training step with XLA; auto: on a GPU, where it can be compiled.",
)
DISTRIBUTE = flags.DEFINE_enum(
    "distribute",
    "none",
    devices.NAMES,
    "Share each batch among devices: mirrored: the GPUs of this machine; multi_worker: those of "
    "all machines that the environment variable TF_CONFIG names.",
)


def strategy() -> tf.distribute.Strategy:
    """The strategy that the flags ask for; to be called before anything is computed."""
    return devices.make_strategy(DISTRIBUTE.value)


def settings(preset_n_steps: int) -> LoopSettings:
    """The loop settings that the flags ask for.

    Args:
      preset_n_steps: length of the stage where `--n_steps` does not give another.
    """
    return LoopSettings(
        n_steps=N_STEPS.value or preset_n_steps,
        max_minutes=MAX_MINUTES.value,
        n_steps_per_call=N_STEPS_PER_CALL.value,
        checkpoint_n_steps=CHECKPOINT_N_STEPS.value,
        sample_n_steps=SAMPLE_N_STEPS.value,
        max_skipped_steps=MAX_SKIPPED_STEPS.value,
        xla=XLA.value,
    )
