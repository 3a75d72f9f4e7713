"""What a chain of stages has done and decided, and how its stages share the time."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence

from musika_tf import files
from musika_tf.training.loop import LoopSettings

PLAN_FILE = "plan.json"
# How trainings share the time. Phase 2 and the GAN are what one hears.
_SHARES = {
    "level1_phase1": 3,
    "level1_phase2": 6,
    "level2_phase1": 2,
    "level2_phase2": 5,
    "gan": 8,
}
TRAININGS = tuple(_SHARES)
# Left for the end: the comparison and the weights.
_RESERVED_SHARE, _MAX_RESERVED_SECONDS = 0.15, 240.0
# A first guess of what has no budget.
_GUESSED_SECONDS = 60.0
# What of a loop is decided once.
_DECIDED = ("n_steps", "n_steps_per_call", "checkpoint_n_steps", "sample_n_steps")


class Plan:
    """What a chain has done and decided, in a file.

    Attributes:
      done: stages that are finished.
      loops: of each training that was begun how long it is.
      spent_seconds: by all starts together.
      init_from: folder of the GAN to begin with; '' is none, None is not decided yet.
    """

    def __init__(
        self, path: pathlib.Path, asked: Mapping[str, str], stages: Sequence[str], hours: float
    ):
        """Opens a plan or begins one: to do these stages, in their order, in so many hours over all
        starts; what is asked are flags as they are written, by name.

        Raises:
          ValueError: it was begun for something else.
        """
        self._path, self._asked = path, dict(asked)
        self._stages, self._total_seconds = stages, 3600.0 * hours
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        begun = known.get("asked", self._asked)
        for name in begun | self._asked:
            then, now = (x.get(name, f"without --{name}") for x in (begun, self._asked))
            if then != now:
                raise ValueError(
                    f"{path.parent} was begun with other flags ({then}; now {now}): give the same "
                    "command to go on with it, or another --name to begin anew"
                )
        self.is_new = not known
        self.done: list[str] = known.get("done", [])
        self.loops = {name: LoopSettings(**loop) for name, loop in known.get("loops", {}).items()}
        self.spent_seconds: float = known.get("spent_seconds", 0.0)
        self.init_from: str | None = known.get("init_from")

    def save(self) -> None:
        """Writes it, whole or not at all."""
        loops = {
            stage: {name: getattr(loop, name) for name in _DECIDED}
            for stage, loop in self.loops.items()
        }
        values = {"asked": self._asked, "done": self.done, "spent_seconds": self.spent_seconds}
        values |= {"init_from": self.init_from, "loops": loops}
        files.write_text(self._path, json.dumps(values, indent=2) + "\n")

    def seconds_of(self, stage: str) -> float:
        """What a stage may take if it begins now; of one that has no budget a guess."""
        reserved = min(_RESERVED_SHARE * self._total_seconds, _MAX_RESERVED_SECONDS)
        if stage not in _SHARES:
            return reserved if stage == self._stages[-1] else _GUESSED_SECONDS
        left = max(0.0, self._total_seconds - reserved - self.spent_seconds)
        shares = {name: _SHARES.get(name, 0) for name in self._stages if name not in self.done}
        return left * shares.get(stage, 0) / max(1, sum(shares.values()))
