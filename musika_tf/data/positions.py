"""The sources of a data set, and the positions in them at which a crop fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the rows of one source lie: in which shard, from which row of it on, how many.

    Its name is unique, for audio the path relative to the audio folder. Of training crops, those of
    a source are drawn `weight` times as often as those of a source of weight 1.
    """

    name: str
    shard: str
    first_row: int
    n_rows: int
    split: str
    weight: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """JSON values; the weight of most is 1 and left out."""
        values = dataclasses.asdict(self)
        if self.weight == 1:
            del values["weight"]
        return values


# A crop: a source, and the crop's first row counted from the beginning of that source.
Position = tuple[Source, int]


class Positions:
    """Numbers all positions at which a crop fits, source after source."""

    def __init__(self, sources: Sequence[Source], crop_n_rows: int):
        """Counts them. Of sources, at least one, those shorter than a crop are left out.

        Raises:
          ValueError: no source is long enough, or the crop has no row.
        """
        if crop_n_rows < 1:
            raise ValueError(f"crop_n_rows={crop_n_rows} must be at least 1")
        longest = max(sources, key=lambda source: source.n_rows)
        if longest.n_rows < crop_n_rows:
            raise ValueError(
                f"no {longest.split} source is long enough: a crop takes {crop_n_rows} rows and "
                f"the longest source, {longest.name!r}, has {longest.n_rows}; use shorter crops or "
                "longer audio"
            )
        n_rows = np.array([source.n_rows for source in sources], np.int64)
        n_fitting = np.maximum(n_rows - crop_n_rows + 1, 0)
        self._sources = sources
        self._ends = np.cumsum(n_fitting)
        self._begins = self._ends - n_fitting
        self.n_positions = int(self._ends[-1])
        self._weights = np.array([source.weight for source in sources])
        is_even = (self._weights == 1).all()
        self._weighted_ends = None if is_even else np.cumsum(n_fitting * self._weights)

    def locate(self, numbers: np.ndarray) -> list[Position]:
        """Source and row of each position number (0 to n_positions - 1)."""
        # side="right" steps over sources that are too short, whose end equals the one before.
        indices = np.searchsorted(self._ends, numbers, side="right")
        rows = numbers - self._begins[indices]
        return [(self._sources[i], int(row)) for i, row in zip(indices, rows, strict=True)]

    def draw(self, rng: np.random.Generator, n_positions: int) -> list[Position]:
        """Positions at random, with replacement; those of a source by its weight."""
        if self._weighted_ends is None:
            return self.locate(rng.integers(self.n_positions, size=n_positions))
        places = rng.uniform(0, self._weighted_ends[-1], n_positions)
        indices = np.searchsorted(self._weighted_ends, places, side="right")
        # Rounding must lead neither before nor behind the positions of the source.
        offsets = (self._weighted_ends[indices] - places) / self._weights[indices]
        numbers = self._ends[indices] - 1 - offsets.astype(np.int64)
        return self.locate(np.maximum(numbers, self._begins[indices]))
