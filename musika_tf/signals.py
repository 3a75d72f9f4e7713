"""A signal: one part of what a generator is given along time."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re

import numpy as np

# The clock: positions in beats since the piece began.
BEATS = "beats"
# A signal has one value a latent step, or one for the whole piece, or is the clock.
RATES = ("step", "piece", BEATS)
# Tempos that people may ask for where nothing else is said.
_TEMPOS_BPM = (40.0, 240.0)


def require_name(name: str) -> None:
    """Raises ValueError if no signal can be called so."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(
            f"signal name {name!r} must be small letters, digits and underscores, and begin with a "
            "letter, like tempo_bpm"
        )


@dataclasses.dataclass(frozen=True)
class Signal:
    """One part of the conditioning: what it means and its range (paper §5.1, §5.2).

    As text, `name:unit:minimum:maximum:rate`, it is an entry of the flag `--conditioning`; of the
    clock two tempos may follow.

    The clock is called beats and goes from 0 to the beats of a bar. Its values are positions in
    beats, of which every bar looks the same; any number is one, and whole bars are taken away.
    """

    # Names its label file, its flag and its place in the exported model; [a-z][a-z0-9_]*.
    name: str
    # For people, without colons and commas: "beats per minute".
    unit: str
    # Least and greatest value, in that unit.
    minimum: float
    maximum: float
    # "step": a value a latent step; "piece": one value for the whole piece; "beats": the clock.
    rate: str
    # Of the clock: the least and the greatest tempo to ask for, as the music that it learns has.
    tempos_bpm: tuple[float, float] = _TEMPOS_BPM
    # Of a trained model, where it is known: (what the generator is given, what is heard of it), two
    # points or more, both rising. People then ask for what is to be heard.
    response: tuple[tuple[float, float], ...] = ()

    def __post_init__(self):
        require_name(self.name)
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
        if (self.rate == BEATS) != (self.name == BEATS):
            raise ValueError(
                f"{self.name} has the rate {self.rate}: the signal {BEATS}, and no other, has the "
                f"rate {BEATS}"
            )
        if self.is_clock and (self.minimum, self.maximum % 1.0) != (0.0, 0.0):
            raise ValueError(
                f"{BEATS} goes from {self.minimum:g} to {self.maximum:g}; it must go from 0 to a "
                "whole number, the beats of a bar"
            )
        if not 0.0 < self.tempos_bpm[0] < self.tempos_bpm[1] < math.inf:
            raise ValueError(f"tempos_bpm={self.tempos_bpm} must be two positive numbers, rising")
        pairs = list(itertools.pairwise(self.response))
        rises = all(a < b for one, next_ in pairs for a, b in zip(one, next_, strict=True))
        if self.response and not (pairs and rises and not self.is_clock):
            raise ValueError(
                f"response={self.response} of {self.name} must be two points or more, given and "
                f"heard, both rising, and {BEATS} has none"
            )

    def __str__(self) -> str:
        tempos_bpm = self.tempos_bpm if self.tempos_bpm != _TEMPOS_BPM else ()
        limits, tempos = (
            [repr(float(value)).removesuffix(".0") for value in values]
            for values in ((self.minimum, self.maximum), tempos_bpm)
        )
        return ":".join((self.name, self.unit, *limits, self.rate, *tempos))

    @property
    def is_clock(self) -> bool:
        """Its values are positions in beats."""
        return self.rate == BEATS

    @property
    def asked(self) -> Signal:
        """What people give for it: a value of its own, for the clock a tempo."""
        if not self.is_clock:
            return self.along_time
        minimum, maximum = self.tempos_bpm
        return dataclasses.replace(TEMPO_SIGNAL, minimum=minimum, maximum=maximum)

    @property
    def along_time(self) -> Signal:
        """What a model takes of it a latent step: with a response, what can be heard."""
        if not self.response:
            return self
        minimum, maximum = (heard for _, heard in (self.response[0], self.response[-1]))
        return dataclasses.replace(self, minimum=minimum, maximum=maximum)

    @property
    def n_features(self) -> int:
        """Numbers a step that networks see of it: see `units.to_model_units`."""
        return 6 if self.is_clock else 1

    @property
    def middle(self) -> float:
        """The middle of the range, in its unit; with a response, what is heard of the middle of
        what can be given."""
        if not self.response:
            return (self.minimum + self.maximum) / 2
        given, heard = zip(*self.response, strict=True)
        return float(np.interp((given[0] + given[-1]) / 2, given, heard))

    @property
    def width(self) -> float:
        """Of the range, in its unit."""
        return self.maximum - self.minimum

    @property
    def range_text(self) -> str:
        """The range in words: `60 to 200 (beats per minute)`."""
        return f"{self.minimum:g} to {self.maximum:g} ({self.unit})"


# The clock is the integral of a tempo, which may change along time.
TEMPO_SIGNAL = Signal("tempo_bpm", "beats per minute", *_TEMPOS_BPM, "step")

# What labels these is part of this project: the signals of the paper, and musical time.
KNOWN_SIGNALS = {
    signal.name: signal
    for signal in (
        Signal("note_density", "share of the densest", 0.0, 1.0, "step"),
        Signal("tempo_bpm", "beats per minute", 60.0, 200.0, "piece"),
        Signal(BEATS, "beats", 0.0, 4.0, BEATS),
    )
}
