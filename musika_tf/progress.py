"""Progress bars: one for each task or, inside a `Journey`, one line for all of a program's."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import tqdm

_journey: Journey | None = None


def bar(items: Iterable[Any] | None = None, **options: Any) -> tqdm.tqdm:
    """The bar of one task; items and options as tqdm takes them."""
    kind = tqdm.tqdm if _journey is None else _Part
    return kind(items, dynamic_ncols=True, **options)


class Journey:
    """Stages one after the other, each with tasks that make bars; `with` shows them as one line.

    Args:
      name: begins the line.
      seconds: how long each stage will take, by name in their order; a guess.
    """

    def __init__(self, name: str, seconds: Mapping[str, float]):
        self._name, self._seconds = name, dict(seconds)
        self._stage, self._begun = next(iter(seconds)), time.monotonic()

    def __enter__(self) -> Journey:
        global _journey
        _journey = self
        return self

    def __exit__(self, *_: object) -> None:
        global _journey
        _journey = None

    def begin(self, stage: str, seconds: float | None = None) -> None:
        """A stage begins, and will take so long if that is known better than before."""
        self._stage, self._begun = stage, time.monotonic()
        if seconds is not None:
            self._seconds[stage] = seconds

    def line(self, done: Mapping[str, Any]) -> str:
        """What people read.

        Args:
          done: `format_dict` of the bar of the task that is under way.
        """
        names, n, total = list(self._seconds), done["n"], done["total"]
        index = names.index(self._stage)
        left = self._left(done) + sum(self._seconds[name] for name in names[index + 1 :])
        share = f" {100 * n / total:.0f} %" if total else ""
        task = done["prefix"].removesuffix(": ")
        doing = self._stage if task in ("", self._stage) else f"{self._stage}, {task}"
        where = f"{self._name}  {index + 1}/{len(names)} {doing}{share}"
        return f"{where}  {_spoken(left)} left  {done['postfix'] or ''}".rstrip()

    def _left(self, done: Mapping[str, Any]) -> float:
        """Seconds of this stage: by its task's pace, or as long as that has none, as planned."""
        n_new = done["n"] - done["initial"]
        if n_new > 0 and done["total"]:
            return (done["total"] - done["n"]) * done["elapsed"] / n_new
        return max(0.0, self._seconds[self._stage] - (time.monotonic() - self._begun))


class _Part(tqdm.tqdm):
    """A bar that shows the line of the journey, and nothing when its task is done."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **(options | {"leave": False}))

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg is None and _journey is not None:
            done = self.format_dict
            msg = _journey.line(done)[: (done["ncols"] or 1000) - 1]
        super().display(msg, pos)


def _spoken(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else "less than a minute"
