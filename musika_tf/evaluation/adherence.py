"""Does the music of a conditional model follow its conditioning (paper §5.1, §5.2, figure 3)?

A model is given constants, and note density also random walks between the least and the greatest of
them; its other signals are given the middle of their range. What the annotators of training data
find in its music is held against what was requested. Sample i has the same anchors and the same
style whatever is requested, so that what differs comes from that alone.

Times are those of the waveform that comes out, at the centres of latent steps:

    waveform    |fade-in                                                            |
    steps       | . | . | . | . | . | . | . | . | . | . | . | . | . | . | . | . | . |
    compared              ^   ^   ^   ^   ^   ^   ^   ^   ^   ^   ^   ^
                |--------|  three bandwidths of the note density              |-----|

Nearer to the ends the density misses onsets that lie outside, and the waveform fades in.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from musika_tf import progress, statistics
from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning import note_density, onsets, tempo
from musika_tf.conditioning.controls import RANDOM_WALK, Constant, Control, Lines, RandomWalk
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import Config, Signal
from musika_tf.evaluation import music
from musika_tf.generation import Request
from musika_tf.player import Player

NOTE_DENSITY, TEMPO_BPM = MEASURABLE = ("note_density", "tempo_bpm")

# What a tempo is multiplied with by the usual mistakes of estimates: they take double or half.
OCTAVES = (1.0, 2.0, 0.5)
# Constants to ask for, and their digits; of a model from 110 to 170 BPM: 120, 125, … 160.
_ASKED = {NOTE_DENSITY: (5, 2), TEMPO_BPM: (9, 0)}
# Bandwidths from the ends of a waveform within which note density is not compared.
_MARGIN_BANDWIDTHS = 3.0
# So many times each sample is held against a walk that was not its own.
_N_OTHER_WALKS = 200


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is asked of a model; constants out of the model's range are left out.

    Raises:
      ValueError: a value is out of range, or the detector is not installed.
    """

    request: Request = Request(n_pieces=8)  # so many samples a constant
    n_walks: int = 4  # of each signal that has a value a step
    note_densities: tuple[float, ...] = ()  # none: over the middle two thirds of the range
    tempos_bpm: tuple[float, ...] = ()  # none: likewise
    onset_detector: str = dataclasses.field(default_factory=onsets.installed_detector)

    def __post_init__(self):
        if self.n_walks < 0:
            raise ValueError(f"n_walks={self.n_walks} must not be negative")
        onsets.installed_detector(self.onset_detector)

    def asked(self, signal: Signal) -> tuple[float, ...]:
        """The constants for a signal, whether or not the model has them in its range."""
        if given := {NOTE_DENSITY: self.note_densities, TEMPO_BPM: self.tempos_bpm}[signal.name]:
            return given
        n_constants, n_digits = _ASKED[signal.name]
        parts = np.linspace(1 / 6, 5 / 6, n_constants)
        return tuple((signal.minimum + signal.width * parts).round(n_digits).tolist())

    def controls(self, signal: Signal) -> dict[Lines, int]:
        """The constants in the range of the model, rising, and of a signal that has a value a step
        a random walk over all of them, each with the number of its samples; ValueError for fewer
        than two constants."""
        asked = self.asked(signal)
        inside = sorted({v for v in asked if signal.minimum <= v <= signal.maximum})
        if len(inside) < 2:
            raise ValueError(
                f"of the constants {', '.join(f'{v:g}' for v in asked)} for {signal.name} "
                f"{len(inside)} are inside the model's range, {signal.range_text}: give two or more"
            )
        found: dict[Lines, int] = dict.fromkeys(map(Constant, inside), self.request.n_pieces)
        # A tempo is measured of a whole piece.
        if signal.rate == "step" and signal.name != TEMPO_BPM:
            found[RandomWalk(inside[0], inside[-1])] = self.n_walks
        return found


@dataclasses.dataclass(frozen=True)
class Task:
    """One sample to make: what is requested of a signal, and which anchors and style it has."""

    signal: Signal  # as it is asked for: of a clock the tempo
    control: Lines
    index: int

    @property
    def is_walk(self) -> bool:
        """A random walk is requested, not a constant."""
        return isinstance(self.control, RandomWalk)

    @property
    def name(self) -> str:
        """For files: `note_density-0.3-0`, `note_density-random_walk-0`."""
        value = RANDOM_WALK if self.is_walk else f"{self.control.value:g}"
        return f"{self.signal.name}-{value}-{self.index}"


class Heard(NamedTuple):
    """What an annotator found in a waveform, at the latent steps that are compared."""

    steps: np.ndarray  # int [n]
    values: np.ndarray  # float64 [n], in user units
    details: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was requested of one sample and what was heard, at the steps that are compared.

    Attributes:
      times_seconds, requested, measured, steps: of each step, [n].
      details: `onsets_per_second`, or the `confidence` (0 to 1) and `tempo_strength` of a tempo.
    """

    task: Task
    times_seconds: np.ndarray
    requested: np.ndarray
    measured: np.ndarray
    details: Mapping[str, float]
    steps: np.ndarray

    @property
    def measured_mean(self) -> float:
        """Over time."""
        return float(self.measured.mean())

    @functools.cached_property
    def metrics(self) -> dict[str, float]:
        """Of the two curves over time."""
        return _curve_metrics(self.requested, self.measured)


@dataclasses.dataclass(frozen=True)
class Result:
    """How a model follows one signal.

    Attributes:
      constants: samples by the constant that was requested, rising.
      metrics: over all of these samples: `pearson_r`, `slope`, `mean_absolute_error`; of tempo also
        the `tempo_shares`, and all with the ending `_octaves`.
      chance: of the same metrics, when what was requested is shuffled among the samples.
      walks: samples of which a random walk was requested.
      walk_metrics: means over the walks of the same metrics along time; None without a walk.
      walk_chance: of the same means, when each sample is held against a walk of others, or None.
    """

    signal: Signal
    constants: Mapping[float, Sequence[Sample]]
    metrics: Mapping[str, float]
    chance: Mapping[str, statistics.Chance]
    walks: Sequence[Sample]
    walk_metrics: Mapping[str, float] | None
    walk_chance: Mapping[str, statistics.Chance] | None


# What to make


def plan(config: Config, settings: Settings) -> list[Task]:
    """All samples that are needed, signal by signal.

    Raises:
      ValueError: the model is unconditional, nobody can measure its signals, too few constants are
        in its range, or the samples are too short.
    """
    asked, seconds = config.conditioning.asked, settings.request.seconds
    names = [signal.name for signal in asked]
    if not names:
        raise ValueError(
            "this model is unconditional, so there is nothing that it could follow: adherence is "
            "of models trained with --conditioning"
        )
    measurable = [signal for signal in asked if signal.name in MEASURABLE]
    if not measurable:
        raise ValueError(
            f"nobody knows how to measure {', '.join(names)} in music: adherence is measured of "
            f"{' and '.join(MEASURABLE)}"
        )
    margin_seconds = _MARGIN_BANDWIDTHS * note_density.MIN_BANDWIDTH_SECONDS
    least_seconds = 2 * margin_seconds + 4 * config.latent_hop_size / config.audio.sample_rate_hz
    if NOTE_DENSITY in names and seconds < least_seconds:
        raise ValueError(
            f"seconds={seconds:g} is too short to measure note density, of which "
            f"{margin_seconds:g} s at each end are left out: give at least {least_seconds:.1f}"
        )
    return [
        Task(signal, control, index)
        for signal in measurable
        for control, n_samples in settings.controls(signal).items()
        for index in range(n_samples)
    ]


def controls(config: Config, task: Task) -> tuple[Control, ...]:
    """One control a signal of the model for a task; all but one the middle of their range."""
    return tuple(
        controls_lib.of_signal(
            signal, task.control if signal.asked == task.signal else Constant(signal.asked.middle)
        )
        for signal in config.conditioning.signals
    )


# Making and measuring it


def samples(player: Player, settings: Settings) -> Iterator[tuple[Sample, np.ndarray]]:
    """Makes and measures the samples of `plan`, each with its waveform, float32 [n_samples, 2]."""
    tasks, request = plan(player.config, settings), settings.request
    n_samples = max(1, round(request.seconds * player.config.audio.sample_rate_hz))
    total = round(request.seconds * len(tasks), 1)
    with progress.bar(total=total, unit=" s of audio") as bar:
        for task in tasks:
            bar.set_description(task.name)
            seed, asked = (request.seed, task.index), controls(player.config, task)
            chunks = player.stream(seed, request.truncation, asked, n_samples)
            waveform = np.concatenate(list(chunks))
            yield _sample(player.config, settings, task, waveform.mean(axis=1)), waveform
            bar.update(request.seconds)


def _sample(config: Config, settings: Settings, task: Task, mono: np.ndarray) -> Sample:
    if task.signal.name == NOTE_DENSITY:
        heard = hear_note_density(mono, config, settings.onset_detector)
    else:
        heard = hear_tempo(mono, config)
    seed, n_steps = (settings.request.seed, task.index), heard.steps[-1] + 1
    column = config.conditioning.asked.index(task.signal)
    requested = task.control.values(config, (*seed, column), 0, n_steps)
    return Sample(
        task=task,
        times_seconds=centres_seconds(config, 0, n_steps)[heard.steps],
        requested=requested[heard.steps],
        measured=heard.values,
        details=heard.details,
        steps=heard.steps,
    )


def hear_note_density(mono: np.ndarray, config: Config, detector: str) -> Heard:
    """Note density along a generated waveform, float32 [n_samples], and the `onsets_per_second`, as
    training data are labelled, away from the ends."""
    rate_hz = config.audio.sample_rate_hz
    found = onsets.detect_onsets(mono, rate_hz, detector)
    margin_seconds = _MARGIN_BANDWIDTHS * note_density.bandwidth_seconds(found)
    begin, end = margin_seconds, len(mono) / rate_hz - margin_seconds
    times = centres_seconds(config, 0, math.ceil(len(mono) / config.latent_hop_size))
    steps = np.flatnonzero((begin <= times) & (times < end))
    density = note_density.onsets_per_second(found, times[steps])
    n_onsets = np.count_nonzero((begin <= found) & (found < end))
    return Heard(
        steps,
        note_density.scale(density, config.conditioning.max_onsets_per_second),
        {"onsets_per_second": n_onsets / (end - begin)},
    )


def hear_tempo(mono: np.ndarray, config: Config) -> Heard:
    """The tempo in BPM of a generated waveform, float32 [n_samples], the same at all steps; the
    `confidence` of the estimate, and `tempo_strength`, see `music.waveform_metrics`."""
    rate_hz = config.audio.sample_rate_hz
    tempo_bpm, confidence = tempo.estimate_tempo(mono, rate_hz)
    n_steps = math.ceil(len(mono) / config.latent_hop_size)
    details = {"confidence": confidence, "tempo_strength": music.tempo_strength(mono, rate_hz)}
    return Heard(np.arange(n_steps), np.full(n_steps, tempo_bpm), details)


# What it says


def results(config: Config, settings: Settings, found: Sequence[Sample]) -> tuple[Result, ...]:
    """The metrics of every signal that was measured, from all samples of `plan`."""
    by_signal = itertools.groupby(found, key=lambda sample: sample.task.signal)
    return tuple(_result(config, settings, signal, list(group)) for signal, group in by_signal)


def _result(config: Config, settings: Settings, signal: Signal, found: list[Sample]) -> Result:
    walks = tuple(sample for sample in found if sample.task.is_walk)
    steady = found[: len(found) - len(walks)]
    requested = [sample.task.control.value for sample in steady]
    measured = [sample.measured_mean for sample in steady]
    by_constant = itertools.groupby(steady, key=lambda sample: sample.task.control.value)
    metrics = _tempo_metrics if signal.name == TEMPO_BPM else _curve_metrics
    chance = statistics.summary(_chance_of_walks(config, settings, walks)) if walks else None
    return Result(
        signal=signal,
        constants={value: list(group) for value, group in by_constant},
        metrics=metrics(requested, measured),
        chance=statistics.when_shuffled(metrics, requested, measured, settings.request.seed),
        walks=walks,
        walk_metrics=statistics.means([walk.metrics for walk in walks]) if walks else None,
        walk_chance=chance,
    )


def _chance_of_walks(
    config: Config, settings: Settings, walks: Sequence[Sample]
) -> Iterator[dict[str, float]]:
    """Means over the walks when each sample is held against a walk that was not its own."""
    for others in zip(*(_other_walks(config, settings, walk) for walk in walks), strict=True):
        pairs = zip(others, walks, strict=True)
        yield statistics.means([_curve_metrics(other, walk.measured) for other, walk in pairs])


def _other_walks(config: Config, settings: Settings, sample: Sample) -> Iterator[np.ndarray]:
    """Walks of the same length that were not requested of this sample."""
    for number in range(1, _N_OTHER_WALKS + 1):
        # Walks that are requested have a seed of three numbers; a fourth of 0 would be the same.
        seed = (settings.request.seed, sample.task.index, 0, number)
        yield sample.task.control.values(config, seed, 0, sample.steps[-1] + 1)[sample.steps]


def _curve_metrics(requested: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    return {
        "pearson_r": statistics.pearson(requested, measured),
        "slope": statistics.slope(requested, measured),
        "mean_absolute_error": statistics.mean_absolute_error(requested, measured),
    }


def _tempo_metrics(requested: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """The metrics of curves, also with octaves allowed, and the shares."""
    folded = statistics.folded(requested, measured, OCTAVES)
    octaves = {f"{k}_octaves": v for k, v in _curve_metrics(requested, folded).items()}
    return _curve_metrics(requested, measured) | octaves | tempo_shares(requested, measured)


def tempo_shares(requested: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """Shares of tempos in BPM: `share_within` 4 % of what was requested, and
    `share_within_octaves` when each counts as its double or half where that is nearer."""
    folded = statistics.folded(requested, measured, OCTAVES)
    heard = {"share_within": measured, "share_within_octaves": folded}
    return {k: statistics.share_within(requested, v, tempo.TOLERANCE) for k, v in heard.items()}
