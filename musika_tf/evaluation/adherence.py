"""Does the music of a conditional model follow its conditioning (paper §5.1, §5.2, figure 3)?

A model is given constants, and note density also random walks between the least and the greatest of
them: the ends of its range are for what music hardly ever does. What it makes is given to the
annotators that label training data, and what they find is held against what was requested. Sample i
has the same anchors and the same style whatever is requested, so that what differs comes from that
alone. Where a model has several signals, the others are given the middle of their range.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tqdm

from musika_tf import statistics
from musika_tf.conditioning import note_density, onsets, tempo
from musika_tf.conditioning.controls import (
    RANDOM_WALK,
    Constant,
    Control,
    RandomWalk,
    blocks,
    centres_seconds,
)
from musika_tf.config import Config, Signal
from musika_tf.generation import Request
from musika_tf.player import Player

NOTE_DENSITY, TEMPO_BPM = "note_density", "tempo_bpm"
MEASURABLE = (NOTE_DENSITY, TEMPO_BPM)

# What a tempo is multiplied with by the usual mistakes of estimates: they take double or half.
OCTAVES = (1.0, 2.0, 0.5)
# Bandwidths from the ends of a waveform within which note density is not compared.
_MARGIN_BANDWIDTHS = 3.0
# So many times each sample is held against a walk that was not its own.
_N_OTHER_WALKS = 200


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is asked of a model.

    Attributes:
      request: length of each sample, seed, truncation, and how many samples a constant.
      n_walks: random walks of each signal that has a value a step.
      note_densities, tempos_bpm: constants; those out of the model's range are left out.
      onset_detector: of `onsets.DETECTORS`; None: `onsets.default_detector()`.

    Raises:
      ValueError: a value is out of range, or the detector is not installed.
    """

    request: Request = Request(n_samples=8)
    n_walks: int = 4
    note_densities: tuple[float, ...] = (0.15, 0.30, 0.45, 0.60, 0.75)
    tempos_bpm: tuple[float, ...] = tuple(range(120, 161, 5))
    onset_detector: str | None = None

    def __post_init__(self):
        if self.n_walks < 0:
            raise ValueError(f"n_walks={self.n_walks} must not be negative")
        onsets.require_installed(self.detector)

    @property
    def detector(self) -> str:
        """Who finds onsets."""
        return self.onset_detector or onsets.default_detector()

    def asked(self, signal: Signal) -> tuple[float, ...]:
        """The constants for a signal, whether or not the model has them in its range."""
        return {NOTE_DENSITY: self.note_densities, TEMPO_BPM: self.tempos_bpm}[signal.name]

    def constants(self, signal: Signal) -> tuple[float, ...]:
        """What is asked of a signal: its constants inside the range of the model, rising.

        Raises:
          ValueError: fewer than two different ones are.
        """
        asked = self.asked(signal)
        inside = sorted({v for v in asked if signal.minimum <= v <= signal.maximum})
        if len(inside) < 2:
            raise ValueError(
                f"of the constants {', '.join(f'{v:g}' for v in asked)} for {signal.name} "
                f"{len(inside)} are inside the model's range, {signal.range_text}: give two or more"
            )
        return tuple(inside)


@dataclasses.dataclass(frozen=True)
class Task:
    """One sample to make: what is requested of a signal, and which anchors and style it has."""

    signal: Signal
    control: Control
    index: int

    @property
    def name(self) -> str:
        """For files: `note_density-0.3-0`, `note_density-random_walk-0`."""
        value = RANDOM_WALK
        if isinstance(self.control, Constant):
            value = f"{self.control.value:g}"
        return f"{self.signal.name}-{value}-{self.index}"


@dataclasses.dataclass(frozen=True)
class Heard:
    """What an annotator found in a waveform.

    Attributes:
      steps: indices of the latent steps that are compared, int [n].
      values: at the centres of these steps, in user units, float64 [n].
      details: other numbers, by name.
    """

    steps: np.ndarray
    values: np.ndarray
    details: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was requested of one sample and what was heard, at the steps that are compared.

    Attributes:
      task: what it was made for.
      times_seconds, requested, measured: float64 [n].
      details: `onsets_per_second` of note density, `confidence` (0 to 1) of tempo.
      steps: indices of the steps.
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
      signal: which.
      constants: samples by the constant that was requested, rising.
      metrics: over all of these samples, by name: `pearson_r`, `slope`, `mean_absolute_error`; of
        tempo also the `tempo_shares`, and all with the ending `_octaves`.
      chance: of the same metrics, when what was requested is shuffled among the samples.
      walks: samples of which a random walk was requested.
      walk_metrics: means over the walks of the same metrics along time; None without a walk.
      walk_chance: of the same means, when each sample is held against a walk of others.
    """

    signal: Signal
    constants: Mapping[float, Sequence[Sample]]
    metrics: Mapping[str, float]
    chance: Mapping[str, statistics.Chance]
    walks: Sequence[Sample] = ()
    walk_metrics: Mapping[str, float] | None = None
    walk_chance: Mapping[str, statistics.Chance] | None = None


# What to make


def plan(config: Config, settings: Settings) -> list[Task]:
    """All samples that are needed, signal by signal.

    Raises:
      ValueError: the model is unconditional, nobody can measure its signals, too few constants are
        in its range, or the samples are too short.
    """
    names = config.conditioning.names
    if not names:
        raise ValueError(
            "this model is unconditional, so there is nothing that it could follow: adherence is "
            "of models trained with --conditioning"
        )
    measurable = [signal for signal in config.conditioning.signals if signal.name in MEASURABLE]
    if not measurable:
        raise ValueError(
            f"nobody knows how to measure {', '.join(names)} in music: adherence is measured of "
            f"{' and '.join(MEASURABLE)}"
        )
    if NOTE_DENSITY in names:
        _require_long_enough(config, settings.request.seconds)
    return [task for signal in measurable for task in _tasks(signal, settings)]


def _tasks(signal: Signal, settings: Settings) -> Iterator[Task]:
    constants, indices = settings.constants(signal), range(settings.request.n_samples)
    for value, index in itertools.product(constants, indices):
        yield Task(signal, Constant(value), index)
    if signal.rate == "step":
        walk = RandomWalk(constants[0], constants[-1])
        yield from (Task(signal, walk, index) for index in range(settings.n_walks))


def _require_long_enough(config: Config, seconds: float) -> None:
    margin_seconds = _MARGIN_BANDWIDTHS * note_density.MIN_BANDWIDTH_SECONDS
    least_seconds = 2 * margin_seconds + 4 * config.latent_hop_size / config.audio.sample_rate_hz
    if seconds < least_seconds:
        raise ValueError(
            f"seconds={seconds:g} is too short to measure note density, of which "
            f"{margin_seconds:g} s at each end are left out: give at least {least_seconds:.1f}"
        )


def controls(config: Config, task: Task) -> tuple[Control, ...]:
    """One control a signal of the model for a task; all but one the middle of their range."""
    return tuple(
        task.control if signal == task.signal else Constant(signal.middle)
        for signal in config.conditioning.signals
    )


# Making and measuring it


def samples(player: Player, settings: Settings) -> Iterator[tuple[Sample, np.ndarray]]:
    """Makes all samples and measures them, with a progress bar.

    Args:
      player: of a conditional model.
      settings: what to ask.

    Yields:
      Each sample, and its waveform, float32 [n_samples, 2].

    Raises:
      ValueError: as `plan`.
    """
    tasks = plan(player.config, settings)
    seconds = settings.request.seconds
    total = round(seconds * len(tasks), 1)
    with tqdm.tqdm(total=total, unit=" s of audio", dynamic_ncols=True) as bar:
        for task in tasks:
            bar.set_description(task.name)
            waveform = _waveform(player, settings.request, task)
            yield _sample(player.config, settings, task, waveform), waveform
            bar.update(seconds)


def _waveform(player: Player, request: Request, task: Task) -> np.ndarray:
    n_samples = max(1, round(request.seconds * player.config.audio.sample_rate_hz))
    seed, asked = (request.seed, task.index), controls(player.config, task)
    return np.concatenate(list(player.stream(seed, request.truncation, asked, n_samples)))


def _sample(config: Config, settings: Settings, task: Task, waveform: np.ndarray) -> Sample:
    mono = waveform.mean(axis=1)
    if task.signal.name == NOTE_DENSITY:
        heard = hear_note_density(mono, config, settings.detector)
    else:
        heard = hear_tempo(mono, config)
    seed, n_steps = (settings.request.seed, task.index), heard.steps[-1] + 1
    conditioning = next(blocks(controls(config, task), config, seed, n_steps))
    column = config.conditioning.names.index(task.signal.name)
    return Sample(
        task=task,
        times_seconds=centres_seconds(config, 0, n_steps)[heard.steps],
        requested=conditioning[heard.steps, column].astype(np.float64),
        measured=heard.values,
        details=heard.details,
        steps=heard.steps,
    )


def hear_note_density(mono: np.ndarray, config: Config, detector: str) -> Heard:
    """Note density along a generated waveform, as training data are labelled.

    Args:
      mono: float32 [n_samples], with the model's sample rate.
      config: of the model; says how long a step is, and which density is 1.
      detector: of `onsets.DETECTORS`.

    Returns:
      The density at the steps away from the ends, and the `onsets_per_second` there.
    """
    rate_hz = config.audio.sample_rate_hz
    found = onsets.detect_onsets(mono, rate_hz, detector)
    margin_seconds = _MARGIN_BANDWIDTHS * note_density.bandwidth_seconds(found)
    begin, end = margin_seconds, len(mono) / rate_hz - margin_seconds
    times = centres_seconds(config, 0, math.ceil(len(mono) / config.latent_hop_size))
    steps = np.flatnonzero((begin <= times) & (times < end))
    density = note_density.onsets_per_second(found, times[steps])
    n_onsets = np.count_nonzero((begin <= found) & (found < end))
    return Heard(
        steps=steps,
        values=note_density.scale(density, config.conditioning.max_onsets_per_second),
        details={"onsets_per_second": n_onsets / (end - begin)},
    )


def hear_tempo(mono: np.ndarray, config: Config) -> Heard:
    """The tempo of a generated waveform, as training data are labelled: the same at all steps.

    Args:
      mono: float32 [n_samples], with the model's sample rate.
      config: of the model; says how long a step is.

    Returns:
      The tempo in BPM, and the `confidence` of the estimate.
    """
    tempo_bpm, confidence = tempo.estimate_tempo(mono, config.audio.sample_rate_hz)
    steps = np.arange(math.ceil(len(mono) / config.latent_hop_size))
    return Heard(steps, np.full(len(steps), tempo_bpm), {"confidence": confidence})


# What it says


def results(config: Config, settings: Settings, found: Sequence[Sample]) -> tuple[Result, ...]:
    """The metrics of every signal that was measured.

    Args:
      config: of the model.
      settings: with which the samples were made.
      found: all samples of `plan`.
    """
    by_signal = itertools.groupby(found, key=lambda sample: sample.task.signal)
    return tuple(_result(config, settings, signal, list(group)) for signal, group in by_signal)


def _result(config: Config, settings: Settings, signal: Signal, found: list[Sample]) -> Result:
    constants: dict[float, list[Sample]] = {}
    walks = []
    for sample in found:
        if isinstance(sample.task.control, Constant):
            constants.setdefault(sample.task.control.value, []).append(sample)
        else:
            walks.append(sample)
    metrics = _tempo_metrics if signal.name == TEMPO_BPM else _curve_metrics
    requested = [value for value, group in constants.items() for _ in group]
    measured = [sample.measured_mean for group in constants.values() for sample in group]
    result = Result(
        signal=signal,
        constants=constants,
        metrics=metrics(requested, measured),
        chance=statistics.when_shuffled(metrics, requested, measured, settings.request.seed),
    )
    if not walks:
        return result
    return dataclasses.replace(
        result,
        walks=walks,
        walk_metrics=_mean_of(sample.metrics for sample in walks),
        walk_chance=statistics.summary(_chance_of_walks(config, settings, walks)),
    )


def _chance_of_walks(
    config: Config, settings: Settings, walks: Sequence[Sample]
) -> Iterator[dict[str, float]]:
    """Means over the walks when each sample is held against a walk that was not its own."""
    for others in zip(*(_other_walks(config, settings, walk) for walk in walks), strict=True):
        pairs = zip(others, walks, strict=True)
        yield _mean_of(_curve_metrics(other, walk.measured) for other, walk in pairs)


def _curve_metrics(requested: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    return {
        "pearson_r": statistics.pearson(requested, measured),
        "slope": statistics.slope(requested, measured),
        "mean_absolute_error": statistics.mean_absolute_error(requested, measured),
    }


def tempo_shares(requested: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """Shares of tempos in BPM: `share_within` 4 % of what was requested, and
    `share_within_octaves` when each counts as its double or half where that is nearer."""
    return {
        "share_within" + ending: statistics.share_within(requested, values, tempo.TOLERANCE)
        for ending, values in _with_octaves(requested, measured).items()
    }


def _tempo_metrics(requested: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """The metrics of curves, and the shares; all of them also with octaves allowed."""
    metrics = {
        name + ending: value
        for ending, values in _with_octaves(requested, measured).items()
        for name, value in _curve_metrics(requested, values).items()
    }
    return metrics | tempo_shares(requested, measured)


def _with_octaves(
    requested: Sequence[float], measured: Sequence[float]
) -> dict[str, Sequence[float]]:
    """What was measured, by the ending of its metrics: as it is, and with octaves allowed."""
    return {"": measured, "_octaves": statistics.folded(requested, measured, OCTAVES)}


def _mean_of(metrics: Iterable[Mapping[str, float]]) -> dict[str, float]:
    metrics = list(metrics)
    return {name: float(np.mean([found[name] for found in metrics])) for name in metrics[0]}


def _other_walks(config: Config, settings: Settings, sample: Sample) -> Iterator[np.ndarray]:
    """Walks of the same length that were not requested of this sample."""
    for number in range(1, _N_OTHER_WALKS + 1):
        # Walks that are requested have a seed of three numbers; a fourth of 0 would be the same.
        seed = (settings.request.seed, sample.task.index, 0, number)
        walk = next(sample.task.control.blocks(config, seed, sample.steps[-1] + 1))
        yield walk[sample.steps]
