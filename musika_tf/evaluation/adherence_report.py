"""Adherence in tables, numbers and pictures, in the files of `report_files`."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from musika_tf import audio as audio_io
from musika_tf import statistics
from musika_tf.conditioning import controls, note_density, tempo
from musika_tf.config import Signal
from musika_tf.evaluation import adherence, adherence_pictures, report_files
from musika_tf.evaluation import references as references_lib
from musika_tf.evaluation.adherence import Result, Sample, Settings, Task
from musika_tf.evaluation.references import References
from musika_tf.player import Player

NAME = "adherence"

# Random walks that get a picture; of each constant the first sample gets one.
_N_WALK_PICTURES = 3
# Digits of curves in the numbers file.
_N_DIGITS = 4

_TITLES = {
    "pearson_r": "Pearson r",
    "slope": "slope",
    "mean_absolute_error": "mean absolute error",
    "share_within": f"share within {100 * tempo.TOLERANCE:g} %",
}
_TITLES |= {f"{name}_octaves": f"{title}, ×2 and ×½ allowed" for name, title in _TITLES.items()}


def evaluate(
    player: Player,
    settings: Settings,
    out: str | os.PathLike,
    references: References | None = None,
    keep_audio: bool = False,
    overwrite: bool = False,
) -> str:
    """Measures the adherence of a model and writes what is found, with `keep_audio` also all
    samples as 16-bit WAV; returns the tables. References, if any, stand beside what they are of.

    Raises:
      ValueError: as `adherence.plan`, or `out` holds an earlier evaluation and not `overwrite`.
    """
    config, rate_hz = player.config, player.config.audio.sample_rate_hz
    report_files.require_free(out, NAME, overwrite)
    adherence.plan(config, settings)

    def fill(folder: pathlib.Path) -> tuple[str, dict[str, Any]]:
        found = []
        for sample, waveform in adherence.samples(player, settings):
            found.append(sample)
            path = folder / f"{sample.task.name}.wav"
            if keep_audio:
                audio_io.write(path, audio_io.Audio(waveform, rate_hz))
            if _has_picture(sample.task):
                picture = adherence_pictures.picture(sample, waveform, rate_hz)
                picture.savefig(path.with_suffix(".png"), dpi=100)
        results = adherence.results(config, settings, found)
        for result in results:
            path = folder / f"{_scatter_name(result)}.png"
            adherence_pictures.scatter(result).savefig(path, dpi=100)
        values = numbers(player, settings, results, references)
        return report_files.markdown(_paragraphs(values, player, settings, results)), values

    return report_files.write(out, NAME, fill)


def _has_picture(task: Task) -> bool:
    return task.index < (_N_WALK_PICTURES if task.is_walk else 1)


def _scatter_name(result: Result) -> str:
    return f"{result.signal.name}-scatter"


# Tables


def _paragraphs(
    values: Mapping[str, Any], player: Player, settings: Settings, results: Sequence[Result]
) -> Iterator[str]:
    model, asked = values["model"], report_files.asked(settings.request, "samples a constant")
    yield f"# Adherence of {model['name']}"
    yield f"Weights {model['weights_sha256'][:12]}, GAN after {model['gan_step']} steps. {asked}"
    yield (
        f"By chance: the mean of {statistics.N_SHUFFLES} times in which what was requested is "
        "shuffled among the samples, and the range of their middle 90 %. Samples that were given a "
        "random walk are held against other walks."
    )
    yield "Slope: how much what is measured changes when what is requested changes by 1."
    for name in values["skipped_signals"]:
        yield f"{name} is skipped: nobody knows how to measure it in music."
    for result in results:
        yield f"## {result.signal.name} ({result.signal.unit})"
        left_out = [f"{v:g}" for v in settings.asked(result.signal) if v not in result.constants]
        if left_out:
            yield f"Not asked, as out of the model's range: {', '.join(left_out)}."
        yield from _constants_tables(values, result)
        yield _metrics_table("all constants", result.metrics, result.chance)
        yield from _beside(values, result.signal)
        if result.walks:
            yield _walks_table(result)
            yield _metrics_table("mean of all walks", result.walk_metrics, result.walk_chance)
        yield from report_files.pictures(NAME, [_scatter_name(result)])
        for sample in itertools.chain(*result.constants.values(), result.walks):
            if _has_picture(sample.task):
                yield from _shown(player, settings, sample.task)


def _shown(player: Player, settings: Settings, task: Task) -> Iterator[str]:
    """The picture of a sample, and what makes it again."""
    if task.index == 0:
        texts = controls.middles(player.config.conditioning.signals) | {
            task.signal.name: task.control.text
        }
        asked = dataclasses.replace(settings.request, controls=texts)
        yield report_files.command(player.path, asked)
    yield from report_files.pictures(NAME, [task.name])


def _constants_tables(values: Mapping[str, Any], result: Result) -> Iterator[str]:
    rows = values["signals"][result.signal.name]["constants"]
    if _is_tempo(result.signal):
        yield "Estimates by Tempo-CNN."
        yield _tempo_table(rows)
    else:
        maximum = values["max_onsets_per_second"]
        yield f"Onsets by {values['onset_detector']}; density 1 is {maximum:g} onsets a second."
        yield _density_table(rows, maximum)


def _beside(values: Mapping[str, Any], signal: Signal) -> Iterator[str]:
    """What the references say."""
    strengths, inside = values["real_tempo_strength"], values["signals"][signal.name]["in_data"]
    if _is_tempo(signal) and strengths:
        told = ", ".join(f"{kind} {strength:.2f}" for kind, strength in strengths.items())
        yield f"Tempo strength of held-out music: {told}."
    if inside:
        found = ", ".join(f"{_TITLES[name]} {inside[name]:.3f}" for name in ("pearson_r", "slope"))
        share = 100 * (1 - 2 * references_lib.TAIL)
        yield (
            f"Constants from {inside['low']:.3g} to {inside['high']:.3g}, where {share:g} % of the "
            f"training data lie: {found}."
        )


def _is_tempo(signal: Signal) -> bool:
    return signal.name == adherence.TEMPO_BPM


def _density_table(rows: Sequence[Mapping[str, Any]], maximum: float) -> str:
    columns = {
        "requested": ("requested", "g"),
        "measured_mean": ("measured", ".3f"),
        "measured_spread": ("spread", ".3f"),
        "steady": ("requested onsets a second", ".2f"),
        "onsets_per_second": ("measured", ".2f"),
    }
    steady = (row | {"steady": note_density.unscale(row["requested"], maximum)} for row in rows)
    return report_files.table(columns, steady)


def _tempo_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = {
        "requested": ("requested", "g"),
        "estimates": ("estimates", ""),
        **{name: (_TITLES[name], ".2f") for name in ("share_within", "share_within_octaves")},
        "confidence": ("confidence", ".2f"),
        "tempo_strength": ("tempo strength", ".2f"),
    }
    return report_files.table(columns, map(_with_estimates, rows))


def _with_estimates(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "estimates": ", ".join(f"{s['measured_mean']:.1f}" for s in row["samples"])}


def _metrics_table(
    title: str, found: Mapping[str, float], chance: Mapping[str, statistics.Chance]
) -> str:
    columns = {
        "title": (title, ""),
        "measured": ("measured", ".3f"),
        "mean": ("by chance", ".3f"),
        "range": ("90 % of chance", ""),
    }
    rows = (
        {
            "title": _TITLES[name],
            "measured": found[name],
            "mean": by.mean,
            "range": f"{by.low:.3f} to {by.high:.3f}",
        }
        for name, by in chance.items()
    )
    return report_files.table(columns, rows)


def _walks_table(result: Result) -> str:
    title = f"random walk from {min(result.constants):g} to {max(result.constants):g}"
    metrics = {name: (_TITLES[name], ".3f") for name in result.walk_metrics}
    rows = ({"index": walk.task.index} | walk.metrics for walk in result.walks)
    return report_files.table({"index": (title, ""), **metrics}, rows)


# Numbers


def numbers(
    player: Player,
    settings: Settings,
    results: Sequence[Result],
    references: References | None = None,
) -> dict[str, Any]:
    """Everything as JSON takes it. All but `created_utc` is the same when it is done again."""
    references = references or References({}, {})
    names, metadata = [s.name for s in player.config.conditioning.asked], player.metadata
    model = {
        "name": "/".join(player.path.resolve().parts[-2:]),
        "created_utc": metadata["created_utc"],
        "weights_sha256": metadata["weights_sha256"],
        "gan_step": metadata["training"]["gan"]["step"],
    }
    return {
        **report_files.numbers({"model": model}, settings.request),
        "n_walks": settings.n_walks,
        "onset_detector": settings.onset_detector,
        "max_onsets_per_second": player.config.conditioning.max_onsets_per_second,
        "skipped_signals": [name for name in names if name not in adherence.MEASURABLE],
        "real_tempo_strength": dict(references.tempo_strength),
        "signals": {
            result.signal.name: _signal_numbers(result) | {"in_data": references.metrics(result)}
            for result in results
        },
    }


def _signal_numbers(result: Result) -> dict[str, Any]:
    plain = dataclasses.asdict(dataclasses.replace(result, constants={}, walks=()))
    return {
        **plain.pop("signal"),
        **plain,
        "constants": [_row(group) for group in result.constants.values()],
        "walks": [_sample_numbers(walk) | walk.metrics for walk in result.walks],
    }


def _row(group: Sequence[Sample]) -> dict[str, Any]:
    """The numbers of all samples of one constant."""
    task, measured = group[0].task, [sample.measured_mean for sample in group]
    row = {
        "requested": task.control.value,
        "measured_mean": float(np.mean(measured)),
        "measured_spread": statistics.spread(measured),
        **statistics.means([sample.details for sample in group]),
        "samples": [_sample_numbers(sample) for sample in group],
    }
    if _is_tempo(task.signal):
        row |= adherence.tempo_shares([task.control.value] * len(group), measured)
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
