"""A GAN that begins with the weights of another, which may follow other signals.

What both follow, and all that is not of a signal, is kept; a new signal is not minded at first.
Critics that saw left and right judge mid and side as they judged those, and the other way round.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import numpy as np

from musika_tf.config import ConditioningConfig, Config, Signal
from musika_tf.networks import critics
from musika_tf.runs import checkpoint
from musika_tf.runs.run import Run
from musika_tf.training import devices
from musika_tf.training.gan_trainer import GanTrainer


def begin_with(initial: pathlib.Path, trainer: GanTrainer) -> None:
    """Gives a GAN the weights of another; of released ones the average is all there is."""
    networks, there = dict(trainer.networks), checkpoint.network_names(initial)
    # Of one that follows nothing there is no estimator to begin with.
    for name in {"generator", "estimator"} - there:
        networks.pop(name, None)
    saved = (Run(initial.parent.parent).saved_config or trainer.config).as_trained
    theirs, ours = saved.conditioning, trainer.config.conditioning
    if theirs != ours and devices.is_chief():
        followed, follows = (", ".join(x.names) or "nothing" for x in (theirs, ours))
        print(f"the weights that it begins with followed {followed}; this GAN follows {follows}")

    def fitted(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if theirs != ours:
            arrays = reconditioned(arrays, theirs, trainer.config)
        if saved.gan.mid_side != trainer.config.gan.mid_side:
            arrays = seeing_otherwise(arrays, trainer.config)
        return arrays

    checkpoint.load_networks(initial, networks, fitted)
    if "generator" not in networks:
        trainer.generator.set_weights(trainer.generator_average.get_weights())


def seeing_otherwise(arrays: Mapping[str, np.ndarray], config: Config) -> dict[str, np.ndarray]:
    """The weights, with critics that judge as before what they now see as `config` says.

    Args:
      arrays: by their names in a checkpoint, of critics that saw the other of the two: left and
        right, or mid and side.
    """
    depth, found = config.stereo_latent_depth, dict(arrays)
    there = critics.mid_side_matrix(depth)
    back = np.linalg.inv(there)
    if not config.gan.mid_side:
        there, back = back, there
    for name, array in arrays.items():
        _, network, *layers, kind = name.split("/")
        if layers == ["input_conv"] and kind == "kernel":
            if network == "discriminator":
                mix = arrays[name.replace("input_conv/kernel", "mixing/mix")]
                mix = mix.astype(np.float64)  # released weights are float16
                back_mixed = np.linalg.inv(mix) @ back @ mix
            else:
                back_mixed = back
            of_latents = back_mixed @ array[:, :depth]
            found[name] = np.concatenate([of_latents, array[:, depth:]], axis=1)
        elif layers == ["decoder_output_conv"]:
            found[name] = array @ there
    return found


def reconditioned(
    arrays: Mapping[str, np.ndarray], theirs: ConditioningConfig, config: Config
) -> dict[str, np.ndarray]:
    """The weights, by their names in a checkpoint, with inputs and estimates for the signals of
    `config`, while they follow `theirs`."""
    refit = functools.partial(_refitted, theirs=theirs.signals, ours=config.conditioning.signals)
    return {
        name: array if place is None else refit(array, *place)
        for name, array in arrays.items()
        for place in [_place_of_features(name, config)]
    }


def _place_of_features(name: str, config: Config) -> tuple[int, int] | None:
    """The axis of a weight on which features of signals lie, and where on it; None: of none."""
    _, network, *layer, kind = name.split("/")
    layer = layer[0] if layer else ""
    if network == "estimator" and layer == "conditioning":
        return -1, 0
    if kind != "kernel":
        return None
    if network == "discriminator" and layer == "input_conv":
        # After the mixed latents.
        return -2, config.stereo_latent_depth
    is_generator = network in ("generator", "generator_average")
    n_halvings = len(config.gan.generator_widths) - 1
    coarsest = f"steps{config.gan.seq_len >> n_halvings}_first_conv"
    if is_generator and (layer.endswith("_adain") or layer == coarsest):
        # After the coordinates, see `gan._generator_inputs`.
        return -2, config.gan.anchor_depth
    return None


def _refitted(
    array: np.ndarray, axis: int, first: int, theirs: tuple[Signal, ...], ours: tuple[Signal, ...]
) -> np.ndarray:
    values = np.moveaxis(array, axis, 0)
    of_signal, end = {}, first
    # A clock is the same whatever tempos are asked of it.
    theirs, ours = (
        [dataclasses.replace(x, tempos_bpm=Signal.tempos_bpm) for x in signals]
        for signals in (theirs, ours)
    )
    for signal in theirs:
        of_signal[signal] = values[end : end + signal.n_features]
        end += signal.n_features
    none = np.zeros((1, *values.shape[1:]), values.dtype)
    found = [of_signal.get(x, np.repeat(none, x.n_features, axis=0)) for x in ours]
    return np.moveaxis(np.concatenate([values[:first], *found, values[end:]]), 0, axis)
