"""Flags of the training loop: how long, how often to write, on what devices."""

from __future__ import annotations

import tensorflow as tf
from absl import flags

from flags import _sections
from musika_tf.training import devices
from musika_tf.training.loop import LoopSettings

_N_STEPS = flags.DEFINE_integer(
    "n_steps", None, "Length of this stage in steps, in place of the preset's.", lower_bound=1
)
_settings = _sections.define(
    LoopSettings,
    choices={"xla": devices.XLA_CHOICES},
    max_minutes="Stop after so many minutes, with a checkpoint; the same command goes on from "
    "there.",
    n_steps_per_call="Steps inside one compiled call; curves have one point a call.",
    checkpoint_n_steps="Steps between two checkpoints.",
    sample_n_steps="Steps between two validations with audio and pictures.",
    max_skipped_steps="Stop after so many steps in a row whose losses or gradients are not finite; "
    "such steps are skipped and counted.",
    xla="Compile the training step with XLA; auto: on a GPU, where it can be compiled.",
)
_DISTRIBUTE = flags.DEFINE_enum(
    "distribute",
    "none",
    devices.STRATEGIES,
    "Share each batch among devices: mirrored: the GPUs of this machine; multi_worker: those of "
    "all machines that the environment variable TF_CONFIG names.",
)


def strategy() -> tf.distribute.Strategy:
    """The strategy that the flags ask for; to be called before anything is computed."""
    return devices.make_strategy(_DISTRIBUTE.value)


def settings(preset_n_steps: int) -> LoopSettings:
    """The loop settings that the flags ask for; `--n_steps` goes before the preset's length."""
    return _settings(n_steps=_N_STEPS.value or preset_n_steps)
