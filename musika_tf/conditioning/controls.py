"""How people say what a conditional generator is to follow (paper §5.1, §5.2).

A control says the value of one signal along an endless piece: a constant, a random walk or a curve
over time; what it says of the clock is its tempo. Time is that of the waveform that comes out, and
each latent step takes the value at the centre of what is decoded from it, as in training (drawn in
timeline.py).

No TensorFlow here: what draws and reads values runs wherever Python does.
"""

from __future__ import annotations

import abc
import csv
import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from musika_tf.conditioning import timeline
from musika_tf.conditioning.units import limited
from musika_tf.config import Config, Signal
from musika_tf.signals import KNOWN_SIGNALS

RANDOM_WALK = "random_walk"
CURVE_COLUMNS = ("time_seconds", "value")

# Standard deviation of a random walk's change over one second, in parts of its range; it grows
# with the root of time: 0.07 a second is 0.24 in the 11.9 s of a patch.
RANDOM_WALK_SPREAD = 0.07

# Times in seconds, rising, and values there.
Points = tuple[np.ndarray, np.ndarray]


# Controls


class Control(abc.ABC):
    """The value of one signal along an endless piece, wherever one looks."""

    @abc.abstractmethod
    def values(self, config: Config, seed: Sequence[int], start: int, n_steps: int) -> np.ndarray:
        """Values at latent steps start … start + n_steps - 1: float64 [n_steps], in user units.

        What is drawn belongs to the seed. Before time 0 what is there is held, and beats go on.
        """


class Lines(Control):
    """Straight lines between points in time; held before the first and after the last."""

    @abc.abstractmethod
    def points(self, config: Config, seed: Sequence[int], n_steps: int) -> Points:
        """All, or those of the first steps."""

    def values(self, config: Config, seed: Sequence[int], start: int, n_steps: int) -> np.ndarray:
        """The lines at the centres of the steps."""
        times = timeline.centres_seconds(config, start, n_steps)
        return np.interp(np.maximum(times, 0.0), *self.points(config, seed, start + n_steps))


@dataclasses.dataclass(frozen=True)
class Constant(Lines):
    """The same value always."""

    value: float

    @property
    def text(self) -> str:
        """What `parse` takes."""
        return f"{self.value:g}"

    def points(self, config: Config, seed: Sequence[int], n_steps: int) -> Points:
        """One."""
        return np.zeros(1), np.array([self.value])


@dataclasses.dataclass(frozen=True)
class RandomWalk(Lines):
    """Normal steps from a uniform first value, reflected at both ends (paper figure 3).

    Over t seconds it moves by `RANDOM_WALK_SPREAD`·√t of the range (standard deviation), and in the
    long run it is everywhere equally often.
    """

    minimum: float
    maximum: float

    @property
    def text(self) -> str:
        """What `parse` takes."""
        return f"{RANDOM_WALK}:{self.minimum:g}:{self.maximum:g}"

    def points(self, config: Config, seed: Sequence[int], n_steps: int) -> Points:
        """One a step, from step 0: as many as it takes, because each builds on those before."""
        rng, n_points = np.random.default_rng(list(seed)), max(1, n_steps)
        width = self.maximum - self.minimum
        step_seconds = config.latent_hop_size / config.audio.sample_rate_hz
        spread = RANDOM_WALK_SPREAD * math.sqrt(step_seconds) * width
        first = rng.uniform(0.0, width)
        path = np.cumsum(np.append(first, spread * rng.standard_normal(n_points - 1)))
        values = self.minimum + width - np.abs(np.mod(path, 2.0 * width) - width)
        return timeline.centres_seconds(config, 0, n_points), values


@dataclasses.dataclass(frozen=True)
class Curve(Lines):
    """Lines between given points."""

    times_seconds: tuple[float, ...]
    values_at_times: tuple[float, ...]

    def points(self, config: Config, seed: Sequence[int], n_steps: int) -> Points:
        """All."""
        return np.array(self.times_seconds), np.array(self.values_at_times)


@dataclasses.dataclass(frozen=True)
class Beats(Control):
    """Positions in beats: the integral of a tempo in beats per minute over the piece."""

    tempo: Lines
    # Where it stands when the piece begins.
    at_beginning: float = 0.0

    def values(self, config: Config, seed: Sequence[int], start: int, n_steps: int) -> np.ndarray:
        """The integral up to the centres of the steps; negative before the piece."""
        times = timeline.centres_seconds(config, start, n_steps)
        counted = timeline.area(times, *self.tempo.points(config, seed, start + n_steps)) / 60.0
        return self.at_beginning + counted


def values(
    controls: Sequence[Control], config: Config, seed: Sequence[int], start: int, n_steps: int
) -> np.ndarray:
    """Conditioning of latent steps start … start + n_steps - 1 of a piece.

    Args:
      controls: one a signal of `config.conditioning`, in its order.
      seed: integers from 0: what belongs to the piece. Each signal has draws of its own.
      start: first step; 0 is where the piece begins, and before it there is what is held there.

    Returns:
      float32 [n_steps, C] in user units, inside the ranges of the signals.

    Raises:
      ValueError: another number of controls than signals.
    """
    _require_one_a_signal(controls, config)
    columns = [
        control.values(config, [*seed, number], start, n_steps)
        for number, control in enumerate(controls)
    ]
    return limited(np.stack(columns, axis=-1), config.conditioning.along_time)


def going_on(
    before: Sequence[Control],
    after: Sequence[Control],
    config: Config,
    seed: Sequence[int],
    step: int,
) -> tuple[Control, ...]:
    """The controls `after`, for a piece that followed `before` up to a latent step.

    Whatever the tempo was and becomes: the clock says at that step what it would have said.

    Raises:
      ValueError: another number of controls than signals.
    """
    _require_one_a_signal(after, config)
    found = list(after)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if isinstance(new, Beats):
            here = [c.values(config, [*seed, number], step, 1).item() for c in (old, new)]
            at_beginning = new.at_beginning + here[0] - here[1]
            found[number] = dataclasses.replace(new, at_beginning=at_beginning)
    return tuple(found)


def _require_one_a_signal(controls: Sequence[Control], config: Config) -> None:
    if len(controls) != config.conditioning.n_signals:
        names = ", ".join(config.conditioning.names) or "none"
        raise ValueError(f"{len(controls)} controls for the signals of the model: {names}")


def of_signal(signal: Signal, asked: Lines) -> Control:
    """The control of a signal by what is asked for: of the clock that is a tempo."""
    return Beats(asked) if signal.is_clock else asked


# What people write


def parse_all(
    texts: Mapping[str, str], signals: Sequence[Signal], with_files: bool = True
) -> tuple[Control, ...]:
    """Controls of a model, one a signal, from what its user wrote, as `parse` takes it, by name.

    Of what nothing was written a signal holds the middle of its range.

    Raises:
      ValueError: a text without a signal, or one that `parse` refuses.
    """
    names = [signal.asked.name for signal in signals]
    for name in texts:
        if name not in names:
            known = f"it follows {', '.join(names)}" if names else "it is unconditional"
            raise ValueError(f"this model has no signal {name}: {known}")
    texts = middles(signals) | texts
    return tuple(
        of_signal(signal, parse(texts[name], signal.asked, with_files))
        for signal, name in zip(signals, names, strict=True)
    )


def untold(texts: Mapping[str, str], signals: Sequence[Signal]) -> Iterator[str]:
    """A line for each signal of which nothing was written: what it is, and how to choose it."""
    for signal in (x.asked for x in signals):
        if signal.name not in texts:
            flag = word(signal.name, "VALUE")
            yield f"{signal.name} is {signal.middle:g}: {flag} takes {_choices(signal)}"


def word(name: str, text: str) -> str:
    """What a command says of a control: a flag of its own, or one for all others."""
    return f"--{name}={text}" if name in KNOWN_SIGNALS else f"--condition={name}={text}"


def middles(signals: Sequence[Signal]) -> dict[str, str]:
    """Texts for `parse_all` that hold every signal in the middle of its range."""
    return {signal.asked.name: f"{signal.asked.middle:g}" for signal in signals}


def parse(text: str, signal: Signal, with_files: bool = True) -> Lines:
    """A control of one signal, which is not the clock but may be its tempo.

    Args:
      text: a number; `random_walk`, or `random_walk:MINIMUM:MAXIMUM` for a part of the range; or
        the path of a CSV file as `read_curve` takes it.
      signal: what it controls.
      with_files: False where strangers ask, who shall not have files read.

    Raises:
      ValueError: none of these, or out of the signal's range.
    """
    what = f"{signal.name}={text}"
    kind, *words = text.split(":")
    if kind == RANDOM_WALK:
        limits = _numbers(words) if words else [signal.minimum, signal.maximum]
        if len(limits) != 2 or not limits[0] < limits[1]:
            raise ValueError(f"{what} must be {RANDOM_WALK} or {RANDOM_WALK}:MINIMUM:MAXIMUM")
        for limit in limits:
            _require_in_range(limit, signal, what)
        return RandomWalk(*limits)
    if numbers := _numbers([text]):
        _require_in_range(numbers[0], signal, what)
        return Constant(numbers[0])
    if not with_files:
        raise ValueError(f"{what} must be a number from {signal.range_text}, or {RANDOM_WALK}")
    path = os.path.expanduser(text)
    if not os.path.isfile(path):
        raise ValueError(f"{what} must be {_choices(signal)}; there is no such file")
    return read_curve(path, signal)


def read_curve(path: str | os.PathLike, signal: Signal) -> Curve:
    """Reads a curve: a UTF-8 CSV file with the header `time_seconds,value` and a row a point.

    Times rise, in seconds from the beginning of the piece; values are in the signal's unit.

    Raises:
      ValueError: another header, no row, what is no number, times that do not rise, or a value out
        of the signal's range; names the file and the line.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if tuple(name.strip() for name in header) != CURVE_COLUMNS:
            raise ValueError(
                f"{path} begins with {','.join(header)!r}; its first line must be "
                f"{','.join(CURVE_COLUMNS)}"
            )
        points = [_point(row, f"{path}, line {reader.line_num}", signal) for row in reader if row]
    if not points:
        raise ValueError(f"{path} holds no point: write a line of time and value, like 0,0.5")
    times, values = zip(*points, strict=True)
    for earlier, later in itertools.pairwise(times):
        if not earlier < later:
            raise ValueError(f"{path}: times must rise, and {later:g} comes after {earlier:g}")
    return Curve(times, values)


def _point(row: list[str], where: str, signal: Signal) -> tuple[float, float]:
    numbers = _numbers(row)
    if len(numbers) != 2 or not math.isfinite(numbers[0]):
        raise ValueError(f"{where}: {','.join(row)!r} is not a time in seconds and a value")
    _require_in_range(numbers[1], signal, f"{where}: {signal.name}={row[1].strip()}")
    return numbers[0], numbers[1]


def _numbers(words: Sequence[str]) -> list[float]:
    """The numbers that words say; none if one of them says no number."""
    try:
        return [float(word) for word in words]
    except ValueError:
        return []


def _require_in_range(value: float, signal: Signal, what: str) -> None:
    # Written so that NaN does not pass.
    if not signal.minimum <= value <= signal.maximum:
        raise ValueError(f"{what} must be from {signal.range_text}")


def _choices(signal: Signal) -> str:
    return (
        f"a number from {signal.range_text}, {RANDOM_WALK}, or a CSV file with the columns "
        f"{','.join(CURVE_COLUMNS)}"
    )
