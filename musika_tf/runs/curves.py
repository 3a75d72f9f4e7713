"""Reads back the TensorBoard logs of a stage: curves, and how long a training took."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.util import tensor_util

# In the folder of a stage.
LOGS_DIR = "logs"
# A longer silence in a log is a training that stopped and went on another time.
_PAUSE_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class Curve:
    """One curve of a stage."""

    steps: np.ndarray  # int64 [n], rising
    values: np.ndarray  # float64 [n]


def read(stage_dir: str | os.PathLike) -> dict[str, Curve]:
    """All curves of a stage by name; where a resumed run took steps again, its values count."""
    points: dict[str, dict[int, float]] = {}
    for event in _events(stage_dir):
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name in ("scalars", ""):
                number = tensor_util.make_ndarray(value.tensor)
                if number.ndim == 0:
                    points.setdefault(value.tag, {})[event.step] = float(number)
    return {
        name: Curve(*map(np.array, zip(*sorted(found.items()), strict=True)))
        for name, found in points.items()
    }


def duration_seconds(stage_dir: str | os.PathLike) -> float:
    """How long a stage was trained, pauses left out; 0 without a log."""
    times = sorted(event.wall_time for event in _events(stage_dir))
    gaps = np.diff(times)
    return float(np.sum(gaps[gaps < _PAUSE_SECONDS]))


def _events(stage_dir: str | os.PathLike) -> Iterator[Event]:
    for path in sorted(pathlib.Path(stage_dir, LOGS_DIR).glob("events.out.tfevents.*")):
        yield from EventFileLoader(str(path)).Load()
