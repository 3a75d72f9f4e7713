"""Adherence in tables, numbers and pictures: what `musika-evaluate --adherence` leaves.

OUT/adherence.md      tables for people
OUT/adherence.json    every number
OUT/adherence/        pictures, and the audio if it is kept
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from musika_tf import audio as audio_io
from musika_tf import statistics
from musika_tf.conditioning import note_density, tempo
from musika_tf.conditioning.controls import RandomWalk
from musika_tf.config import Config, Signal
from musika_tf.evaluation import adherence, adherence_pictures
from musika_tf.evaluation.adherence import Result, Sample, Settings
from musika_tf.evaluation.report_files import ReportFiles, optional, table
from musika_tf.player import Player

_FILES = ReportFiles("adherence")
FORMAT_VERSION = 1

# Random walks that get a picture; of each constant the first sample gets one.
_N_WALK_PICTURES = 3
# Digits of curves in the numbers file.
_N_DIGITS = 4

_WITHIN = f"within {100 * tempo.TOLERANCE:g} %"
_TITLES = {
    "pearson_r": "Pearson r",
    "slope": "slope",
    "mean_absolute_error": "mean absolute error",
    "share_within": f"share {_WITHIN}",
}
_TITLES |= {f"{name}_octaves": f"{title}, ×2 and ×½ allowed" for name, title in _TITLES.items()}
_SHARES = ("share_within", "share_within_octaves")


def evaluate(
    player: Player,
    settings: Settings,
    out: str | os.PathLike,
    keep_audio: bool = False,
    overwrite: bool = False,
) -> str:
    """Measures the adherence of a model and writes what is found; nothing until all is there.

    Args:
      player: of a conditional model.
      settings: what to ask of it.
      out: folder; made if it is missing.
      keep_audio: also write the samples that were measured, as WAV files of 16 bits.
      overwrite: replace what an earlier call left in `out`.

    Returns:
      The tables.

    Raises:
      ValueError: as `adherence.plan`, or `out` holds an earlier evaluation.
    """
    out = pathlib.Path(out)
    _FILES.require_free(out, overwrite)
    adherence.plan(player.config, settings)
    with _FILES.written_aside(out) as places:
        found = []
        for sample, waveform in adherence.samples(player, settings):
            found.append(sample)
            _keep(places.folder, player.config, sample, waveform, keep_audio)
        results = adherence.results(player.config, settings, found)
        for result in results:
            path = places.folder / f"{_scatter_name(result)}.png"
            _save(adherence_pictures.scatter(result), path)
        text = tables(player, settings, results)
        places.write(text, numbers(player, settings, results))
    return text


# Files


def _keep(
    folder: pathlib.Path, config: Config, sample: Sample, waveform: np.ndarray, keep_audio: bool
) -> None:
    """Writes what is kept of a sample: of some a picture, of all the audio if it is wanted."""
    path, rate_hz = folder / f"{sample.task.name}.wav", config.audio.sample_rate_hz
    if keep_audio:
        audio_io.write(path, audio_io.Audio(waveform, rate_hz))
    if _has_picture(sample):
        _save(adherence_pictures.picture(sample, waveform, rate_hz), path.with_suffix(".png"))


def _has_picture(sample: Sample) -> bool:
    n_pictures = _N_WALK_PICTURES if _is_walk(sample) else 1
    return sample.task.index < n_pictures


def _is_walk(sample: Sample) -> bool:
    return isinstance(sample.task.control, RandomWalk)


def _save(picture: Figure, path: pathlib.Path) -> None:
    picture.savefig(path, dpi=100, format="png")


def _scatter_name(result: Result) -> str:
    return f"{result.signal.name}-scatter"


# Tables


def tables(player: Player, settings: Settings, results: Sequence[Result]) -> str:
    """Everything in Markdown."""
    lines = [
        f"# Adherence of {_model_name(player)}",
        "",
        f"Weights {player.metadata['weights_sha256'][:12]}, GAN after {_n_gan_steps(player)} steps."
        f" {settings.request.n_samples} samples a constant, {settings.request.seconds:g} s each, "
        f"seed {settings.request.seed}, truncation {settings.request.truncation:g}.",
        "",
        f"By chance: the mean of {statistics.N_SHUFFLES} times in which what was requested is "
        "shuffled among the samples, and the range of their middle 90 %. Samples that were given a "
        "random walk are held against other walks.",
        "",
        "Slope: how much what is measured changes when what is requested changes by 1.",
        *_not_measured(player.config),
    ]
    for result in results:
        lines += ["", f"## {result.signal.name} ({result.signal.unit})", ""]
        lines += _left_out(settings, result)
        make = _tempo_table if _is_tempo(result.signal) else _density_table
        lines += make(player.config, settings, result)
        lines += ["", *_metrics_table("all constants", result.metrics, result.chance)]
        lines += _walks_tables(result)
        lines += _pictures(result)
    return "\n".join(lines) + "\n"


def _model_name(player: Player) -> str:
    return f"{player.path.resolve().parent.name}/{player.path.resolve().name}"


def _n_gan_steps(player: Player) -> int:
    return player.metadata["training"]["gan"]["step"]


def _is_tempo(signal: Signal) -> bool:
    return signal.name == adherence.TEMPO_BPM


def _not_measured(config: Config) -> Iterator[str]:
    for name in _unmeasured_names(config):
        yield ""
        yield f"{name} is skipped: nobody knows how to measure it in music."


def _unmeasured_names(config: Config) -> list[str]:
    return [name for name in config.conditioning.names if name not in adherence.MEASURABLE]


def _left_out(settings: Settings, result: Result) -> Iterator[str]:
    out = [f"{v:g}" for v in settings.asked(result.signal) if v not in result.constants]
    if out:
        yield f"Not asked, as out of the model's range: {', '.join(out)}."
        yield ""


def _density_table(config: Config, settings: Settings, result: Result) -> Iterator[str]:
    maximum = config.conditioning.max_onsets_per_second
    yield f"Onsets by {settings.detector}; density 1 is {maximum:g} onsets a second."
    yield ""
    yield from table(
        ("requested", "measured", "spread", "requested onsets a second", "measured"),
        (
            (
                f"{row['requested']:g}",
                f"{row['measured_mean']:.3f}",
                optional(row["measured_spread"], ".3f"),
                f"{note_density.unscale(row['requested'], maximum):.2f}",
                f"{row['onsets_per_second']:.2f}",
            )
            for row in map(_row, result.constants.values())
        ),
    )


def _tempo_table(config: Config, settings: Settings, result: Result) -> Iterator[str]:
    yield "Estimates by Tempo-CNN."
    yield ""
    yield from table(
        ("requested", "estimates", *(_TITLES[name] for name in _SHARES), "confidence"),
        (
            (
                f"{row['requested']:g}",
                ", ".join(f"{sample['measured_mean']:.1f}" for sample in row["samples"]),
                *(f"{row[name]:.2f}" for name in _SHARES),
                f"{row['confidence']:.2f}",
            )
            for row in map(_row, result.constants.values())
        ),
    )


def _metrics_table(
    title: str, found: Mapping[str, float], chance: Mapping[str, statistics.Chance]
) -> list[str]:
    rows = (
        (
            _TITLES[name],
            f"{value:.3f}",
            f"{chance[name].mean:.3f}",
            f"{chance[name].low:.3f} to {chance[name].high:.3f}",
        )
        for name, value in found.items()
    )
    return table((title, "measured", "by chance", "90 % of chance"), rows)


def _walks_tables(result: Result) -> list[str]:
    if not result.walks:
        return []
    rows = [
        (str(walk.task.index), *(f"{v:.3f}" for v in walk.metrics.values()))
        for walk in result.walks
    ]
    low, high = min(result.constants), max(result.constants)
    header = (
        f"random walk from {low:g} to {high:g}",
        *(_TITLES[name] for name in result.walk_metrics),
    )
    means = _metrics_table("mean of all walks", result.walk_metrics, result.walk_chance)
    return ["", *table(header, rows), "", *means]


def _pictures(result: Result) -> Iterator[str]:
    found = [sample for group in result.constants.values() for sample in group]
    shown = [s.task.name for s in (*found, *result.walks) if _has_picture(s)]
    for name in (_scatter_name(result), *shown):
        yield ""
        yield f"![{name}]({_FILES.folder}/{name}.png)"


# Numbers


def numbers(player: Player, settings: Settings, results: Sequence[Result]) -> dict[str, Any]:
    """Everything as JSON takes it. All but `created_utc` is the same when it is done again."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "format_version": FORMAT_VERSION,
        "created_utc": now.isoformat(timespec="seconds"),
        "model": {
            "name": _model_name(player),
            "created_utc": player.metadata["created_utc"],
            "weights_sha256": player.metadata["weights_sha256"],
            "gan_step": _n_gan_steps(player),
        },
        "seconds": settings.request.seconds,
        "seed": settings.request.seed,
        "truncation": settings.request.truncation,
        "n_samples": settings.request.n_samples,
        "n_walks": settings.n_walks,
        "onset_detector": settings.detector,
        "max_onsets_per_second": player.config.conditioning.max_onsets_per_second,
        "skipped_signals": _unmeasured_names(player.config),
        "signals": {result.signal.name: _signal_numbers(settings, result) for result in results},
    }


def _signal_numbers(settings: Settings, result: Result) -> dict[str, Any]:
    return {
        **dataclasses.asdict(result.signal),
        "metrics": result.metrics,
        "chance": _chance_numbers(result.chance),
        "constants": [_row(group) for group in result.constants.values()],
        "walk_metrics": result.walk_metrics,
        "walk_chance": result.walk_chance and _chance_numbers(result.walk_chance),
        "walks": [_sample_numbers(walk) | walk.metrics for walk in result.walks],
    }


def _chance_numbers(chance: Mapping[str, statistics.Chance]) -> dict[str, Any]:
    return {name: dataclasses.asdict(value) for name, value in chance.items()}


def _row(group: Sequence[Sample]) -> dict[str, Any]:
    """The numbers of all samples of one constant."""
    control, measured = group[0].task.control, [sample.measured_mean for sample in group]
    row = {
        "requested": control.value,
        "measured_mean": float(np.mean(measured)),
        "measured_spread": statistics.spread(measured),
        **{
            name: float(np.mean([sample.details[name] for sample in group]))
            for name in group[0].details
        },
        "samples": [_sample_numbers(sample) for sample in group],
    }
    if _is_tempo(group[0].task.signal):
        row |= adherence.tempo_shares([control.value] * len(group), measured)
    return row


def _sample_numbers(sample: Sample) -> dict[str, Any]:
    values = {
        "name": sample.task.name,
        "index": sample.task.index,
        "measured_mean": sample.measured_mean,
        **sample.details,
    }
    if not _is_tempo(sample.task.signal):
        for name in ("times_seconds", "requested", "measured"):
            values[name] = np.round(getattr(sample, name), _N_DIGITS).tolist()
    return values
