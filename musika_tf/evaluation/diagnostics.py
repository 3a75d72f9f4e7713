"""What training tells of held-out latents, of a trained run and its own discriminator.

Among it whether the discriminator hears that music was spliced or shuffled, and whether music moves
with its coordinates.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from musika_tf.data.latent_labels import AudioLabels
from musika_tf.data.shards import Position
from musika_tf.networks import critics, gan
from musika_tf.runs import checkpoint
from musika_tf.runs.run import Run
from musika_tf.training import validation

# Of the lines and styles of what is generated.
_SEED = 0


def measure(
    run: Run, data_dir: str | os.PathLike, positions: Sequence[Position], held_out: np.ndarray
) -> dict[str, float] | None:
    """The metrics of `validation.gan`.

    Args:
      run: with a trained GAN.
      data_dir: of the waveform shards, with the labels of the signals of a conditional system.
      positions: where in them the audio of each example begins.
      held_out: its latents, [n, T, stereo_latent_depth], without zeros before them.

    Returns:
      None: they are shorter than the two patches that the discriminator hears at once, or none has
      a label of all signals.

    Raises:
      ValueError: a label file is damaged, or does not name a source.
    """
    config, n_steps = run.config, 2 * run.config.gan.seq_len
    if held_out.shape[1] < n_steps:
        return None
    real = held_out[:, :n_steps].astype(np.float32)
    examples = [real]
    if config.conditioning.signals:
        labels = AudioLabels(
            data_dir,
            [source for source, _ in positions],
            config,
            config.conditioning.max_onsets_per_second,
        )
        conditioning = labels.crops(positions, n_steps)
        is_known = ~np.isnan(conditioning).any(axis=(1, 2))
        examples = [real[is_known], conditioning[is_known]]
    if not len(examples[0]):
        return None
    outputs = validation.outputs(config, _networks(run), _SEED, *map(tf.constant, examples))
    return validation.gan(config, {name: x.numpy() for name, x in outputs.items()}, *examples)


def _networks(run: Run) -> validation.Networks:
    """Those of the newest checkpoint; not all have an estimator."""
    config, path = run.config, run.checkpoint("gan")
    average = gan.build_generator(config, name="generator_average")
    found = {
        "generator_average": average,
        "discriminator": critics.build_discriminator(config),
    }
    if "estimator" in checkpoint.network_names(path):
        found["estimator"] = critics.build_estimator(config)
    checkpoint.load_networks(path, found)
    return validation.Networks(average, found["discriminator"], found.get("estimator"))
