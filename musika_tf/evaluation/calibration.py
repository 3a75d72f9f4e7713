"""A model's own scale, made people's: what is asked for is what is heard.

A generator follows its conditioning further in the middle of what it learnt than at the ends. An
evaluation of adherence tells what is heard of each constant; kept as the response of the signal in
the config, it is what every later request goes back through, also in exported models.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from musika_tf import files
from musika_tf.config import Config, Signal
from musika_tf.evaluation import adherence, adherence_report
from musika_tf.runs.run import CONFIG_FILE, Run

# Digits of values that are heard: they are limits that people read.
_N_DIGITS = 3


def keep(run: Run, out: str | os.PathLike) -> str:
    """Keeps in the config of a run what an evaluation of its adherence, in `out`, has heard.

    Returns:
      A line for people for each signal: what can be asked for now.

    Raises:
      ValueError: no run; an exported model, say.
    """
    path = pathlib.Path(out, f"{adherence_report.NAME}.json")
    config = calibrated(run.config, json.loads(path.read_text(encoding="utf-8")))
    files.write_text(run.folder / CONFIG_FILE, config.to_json())
    lines = (
        f"{signal.name} can be asked for from {signal.asked.range_text} now"
        for signal in config.conditioning.signals
        if signal.response
    )
    return "\n".join(lines)


def calibrated(config: Config, numbers: Mapping[str, Any]) -> Config:
    """A config whose signals have the responses that were measured with it.

    Args:
      config: of the model as it was measured, perhaps calibrated before.
      numbers: of `adherence_report.numbers`.

    Raises:
      ValueError: nothing was measured that has a response, or what is heard does not rise with what
        is asked.
    """
    signals = tuple(_calibrated(config.conditioning.signals, numbers["signals"]))
    return dataclasses.replace(
        config, conditioning=dataclasses.replace(config.conditioning, signals=signals)
    )


def _calibrated(signals: Sequence[Signal], measured: Mapping[str, Any]) -> Iterator[Signal]:
    # Estimates of tempo may be an octave off, which is no response.
    names = measured.keys() - {adherence.TEMPO_BPM}
    if not any(signal.name in names for signal in signals):
        raise ValueError("nothing to calibrate: no signal of this model but tempo was measured")
    for signal in signals:
        if signal.name in names:
            response = _response(signal, measured[signal.name]["constants"])
            yield dataclasses.replace(signal, response=response)
        else:
            yield signal


def _response(
    signal: Signal, constants: Sequence[Mapping[str, float]]
) -> tuple[tuple[float, float], ...]:
    """Points of what was given and what was heard; one that is not above those before is left
    out."""
    points: list[tuple[float, float]] = []
    for row in constants:
        given, heard = row["requested"], round(row["measured_mean"], _N_DIGITS)
        if signal.response:
            before, asked = zip(*signal.response, strict=True)
            given = float(np.interp(given, asked, before))
        if not points or heard > points[-1][1]:
            points.append((round(given, _N_DIGITS), heard))
    if len(points) < 2:
        raise ValueError(
            f"{signal.name} cannot be calibrated: what is heard does not rise with what is asked; "
            "train on, or ask for values that are further apart"
        )
    return tuple(points)
