"""A signal: one part of what a generator is given along time."""

from __future__ import annotations

import dataclasses
import math
import re

# A signal has one value a latent step, or one for the whole piece.
RATES = ("step", "piece")


@dataclasses.dataclass(frozen=True)
class Signal:
    """One part of the conditioning: what it means and its range (paper §5.1, §5.2).

    As text, `name:unit:minimum:maximum:rate`, it is an entry of the flag `--conditioning`.
    """

    # Names its label file, its flag and its place in the exported model; [a-z][a-z0-9_]*.
    name: str
    # For people, without colons and commas: "beats per minute".
    unit: str
    # Least and greatest value, in that unit.
    minimum: float
    maximum: float
    # "step": a value a latent step; "piece": one value for the whole piece.
    rate: str

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(
                f"signal name {self.name!r} must be small letters, digits and underscores, and "
                "begin with a letter, like tempo_bpm"
            )
        if not re.fullmatch(r"[^:,\n]+", self.unit):
            raise ValueError(
                f"unit {self.unit!r} of {self.name} must be a word or more without colons and "
                "commas, like beats per minute"
            )
        if not -math.inf < self.minimum < self.maximum < math.inf:
            raise ValueError(
                f"{self.name} ranges from {self.minimum} to {self.maximum}: the minimum must be "
                "below the maximum, and both must be finite"
            )
        if self.rate not in RATES:
            raise ValueError(f"rate {self.rate!r} of {self.name} must be {' or '.join(RATES)}")

    def __str__(self) -> str:
        limits = (repr(float(limit)).removesuffix(".0") for limit in (self.minimum, self.maximum))
        return ":".join((self.name, self.unit, *limits, self.rate))

    @property
    def middle(self) -> float:
        """The middle of the range, in its unit."""
        return (self.minimum + self.maximum) / 2

    @property
    def range_text(self) -> str:
        """The range in words: `60 to 200 (beats per minute)`."""
        return f"{self.minimum:g} to {self.maximum:g} ({self.unit})"
