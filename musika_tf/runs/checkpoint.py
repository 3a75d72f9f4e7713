"""Checkpoints: one file of named arrays each, whole or absent.

A checkpoint is a safetensors file, which holds arrays and text only, so that reading one never
runs code. It is written under a temporary name, flushed to the disk and renamed: a killed
training leaves the previous checkpoints as they were.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import safetensors.numpy
import tensorflow as tf

from musika_tf import files
from musika_tf.networks.fingerprint import sha256

# Of the two kinds, which a folder keeps independently of each other.
NEWEST, BEST = "checkpoint", "best"
_N_KEPT = 2
# What their weights are named after: networks/<network>/<layer>/<variable>.
_NETWORKS = "networks/"
# Before the name of the metric whose best value a training keeps.
BEST_METRIC = "loop/best_metric/"
# State that earlier releases did not have: there it begins as it is built. So does the best value
# of a metric by which the best checkpoint was not chosen yet.
_ADDED = ("state/r1_gamma", "state/hinge_average", BEST_METRIC)
# The best value of another metric, or of one that earlier releases did not name: not comparable.
_DROPPED = "loop/best_"
_NAME = re.compile(rf"(?:{NEWEST}|{BEST})-(\d{{8}})\.safetensors")


def save(
    folder: str | os.PathLike, variables: Mapping[str, tf.Variable], step: int, kind: str = NEWEST
) -> pathlib.Path:
    """Writes `<kind>-<step>.safetensors` and removes all but the last two of its kind.

    A checkpoint of the kind `BEST` is better than any before.
    """
    folder = pathlib.Path(folder)
    path = folder / f"{kind}-{step:08d}.safetensors"
    save_arrays(path, {name: variable.numpy() for name, variable in variables.items()})
    for old in _all(folder, kind)[:-_N_KEPT]:
        old.unlink()
    files.remove_unfinished(folder)
    return path


def save_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays."""
    content = safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in arrays.items()})
    with files.written_aside(path) as new:
        # Not by save_file, whose files nobody else may read.
        new.write_bytes(content)


def save_weights(
    path: pathlib.Path, folder: str | os.PathLike, left_out: Sequence[str] = ()
) -> pathlib.Path:
    """Writes the networks of a checkpoint under the same name to `folder`, rounded to float16.

    Args:
      folder: made if missing.
      left_out: names of networks that do not go along.
    """
    arrays = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in _read(path).items()
        if name.startswith(_NETWORKS) and _network_of(name) not in left_out
    }
    target = pathlib.Path(folder) / f"{NEWEST}-{step_of(path):08d}.safetensors"
    save_arrays(target, arrays)
    return target


def network_names(path: pathlib.Path) -> set[str]:
    """Names of the networks that a checkpoint holds."""
    return {_network_of(name) for name in _read(path) if name.startswith(_NETWORKS)}


def _network_of(name: str) -> str:
    return name.split("/")[1]


def latest(folder: str | os.PathLike) -> pathlib.Path | None:
    """The newest checkpoint in a folder, or None."""
    return next(reversed(_all(pathlib.Path(folder), NEWEST)), None)


def best(folder: str | os.PathLike) -> pathlib.Path | None:
    """The checkpoint of the best validation metric in a folder, or None."""
    return next(reversed(_all(pathlib.Path(folder), BEST)), None)


def remove_best_after(folder: str | os.PathLike, step: int) -> None:
    """Removes best checkpoints of steps that a resumed run has lost and will take again."""
    for path in _all(pathlib.Path(folder), BEST):
        if step_of(path) > step:
            path.unlink()


def _all(folder: pathlib.Path, kind: str) -> list[pathlib.Path]:
    return sorted(path for path in folder.glob(f"{kind}-*") if _NAME.fullmatch(path.name))


def step_of(path: pathlib.Path) -> int:
    """Step at which a checkpoint was written."""
    return int(_NAME.fullmatch(path.name).group(1))


def fingerprint(path: pathlib.Path, networks: Sequence[str]) -> str:
    """SHA-256 over the weights of the named networks in a checkpoint."""
    prefixes = tuple(f"{_NETWORKS}{network}/" for network in networks)
    return sha256({k: v for k, v in _read(path).items() if k.startswith(prefixes)})


def restore(path: pathlib.Path, variables: Mapping[str, tf.Variable]) -> None:
    """Gives every variable its value in the checkpoint.

    Raises:
      ValueError: a variable or an array has no counterpart, or shapes differ; nothing is assigned.
    """
    arrays = _read(path)
    if all(name.startswith(_NETWORKS) for name in arrays):
        raise ValueError(
            f"{path} holds trained weights without the state of their training, which cannot go on:"
            f" begin a new run with --init_from={path.parent.parent}"
        )
    variables = {k: v for k, v in variables.items() if k in arrays or not k.startswith(_ADDED)}
    unused = {k for k in arrays if k not in variables and not k.startswith(_DROPPED)}
    _assign(path, arrays, variables, unused)


def load_networks(
    path: pathlib.Path,
    networks: Mapping[str, keras.Model],
    change: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]] = dict,
) -> None:
    """Gives networks the weights that a checkpoint holds under the same names.

    Args:
      change: makes of the arrays of its networks those that are given; none is changed.

    Raises:
      ValueError: a weight is missing or has another shape; nothing is assigned.
    """
    arrays = {k: v for k, v in _read(path).items() if k.startswith(_NETWORKS)}
    _assign(path, change(arrays), variables_of(networks), unused=set())


def variables_of(networks: Mapping[str, keras.Model]) -> dict[str, tf.Variable]:
    """Of networks by name, by the name that each variable has in a checkpoint."""
    return {
        f"{_NETWORKS}{name}/{variable.path}": variable.value
        for name, network in networks.items()
        for variable in network.variables
    }


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # safetensors raises its own error type, with bare messages
        raise ValueError(f"{path} is not a readable checkpoint ({error})") from error


def _assign(path, arrays, variables: Mapping[str, tf.Variable], unused: set[str]) -> None:
    missing = set(variables) - set(arrays)
    if missing or unused:
        raise ValueError(
            f"{path} does not fit this model: missing {_first(missing)}, not needed "
            f"{_first(unused)}; train and load with the same configuration and release"
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise ValueError(
                f"{path}: {name} has shape {arrays[name].shape}, this model needs "
                f"{tuple(variable.shape)}; use the configuration that it was trained with"
            )
    for name, variable in variables.items():
        variable.assign(tf.cast(arrays[name], variable.dtype))


def _first(names: set[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(sorted(names)[:3]) + more or "nothing"
