"""Pictures of what was requested of a model and what was heard (paper figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from musika_tf import pictures
from musika_tf.config import Signal
from musika_tf.evaluation import adherence
from musika_tf.evaluation.adherence import Result, Sample

# How much of a sample a picture shows.
_MAX_SECONDS = 60
_REQUESTED_COLOUR, _MEASURED_COLOUR = "#2dff5b", "white"


def picture(sample: Sample, waveform: np.ndarray, sample_rate_hz: int) -> Figure:
    """A log-mel picture of the first minute of a waveform, float32 [n_samples, n_channels], with
    what was requested over it, and dashed what was heard."""
    waveform = waveform[: _MAX_SECONDS * sample_rate_hz]
    seconds, signal = len(waveform) / sample_rate_hz, sample.task.signal
    drawing = Figure(figsize=(12, 4), layout="constrained")
    mel = drawing.subplots()
    image = pictures.mel_picture(waveform, sample_rate_hz)
    mel.imshow(image, extent=(0, seconds, 0, 1), aspect="auto")
    mel.set_title(sample.task.name, loc="left")
    mel.set(xlabel="time in s", ylabel="frequency (mel)", yticks=[])
    curves = mel.twinx()
    for values, style, colour, label in (
        (sample.requested, "-", _REQUESTED_COLOUR, "requested"),
        (sample.measured, "--", _MEASURED_COLOUR, "measured"),
    ):
        curves.plot(sample.times_seconds, values, style, color=colour, linewidth=2, label=label)
    curves.set(
        ylabel=f"{signal.name}, {signal.unit}",
        xlim=(0, seconds),
        ylim=_limits(signal, sample.measured),
    )
    # Above the picture, where it hides nothing.
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 2, "borderaxespad": 0.2}
    curves.legend(facecolor="black", labelcolor="white", **place)
    return drawing


def scatter(result: Result) -> Figure:
    """What was measured over what was requested: a dot a sample, a pale one a step of the walks."""
    drawing = Figure(figsize=(6, 6), layout="constrained")
    axes = drawing.subplots()
    signal, limits = result.signal, np.array([result.signal.minimum, result.signal.maximum])
    factors = adherence.OCTAVES if signal.name == adherence.TEMPO_BPM else (1.0,)
    for factor in factors:
        style = "-" if factor == 1.0 else ":"
        axes.plot(limits, factor * limits, style, color="grey", linewidth=1)
    for walk in result.walks:
        axes.plot(walk.requested, walk.measured, ".", color="tab:green", alpha=0.15)
    pairs = [(v, s.measured_mean) for v, group in result.constants.items() for s in group]
    requested, measured = zip(*pairs, strict=True)
    axes.plot(requested, measured, "o", color="tab:blue", alpha=0.7)
    axes.set(
        title=f"{signal.name}: Pearson r {result.metrics['pearson_r']:.2f} over the constants",
        xlabel=f"requested, {signal.unit}",
        ylabel=f"measured, {signal.unit}",
        xlim=limits,
        ylim=_limits(signal, measured),
    )
    return drawing


def _limits(signal: Signal, values: Sequence[float]) -> tuple[float, float]:
    """The signal's range, more where values are out of it, and a little above and below."""
    low, high = min(signal.minimum, *values), max(signal.maximum, *values)
    return low - 0.02 * (high - low), high + 0.02 * (high - low)
