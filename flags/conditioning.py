"""Flags of the conditioning: the fields of `ConditioningConfig`.

The entries of `--conditioning` are the signals:

    note_density                            a known signal
    tempo_bpm:110:170                       a known signal with another range
    beats, beats:0:3                        the clock: bars of four beats, or of three
    brightness:share:0:1:step               any other: name, unit, minimum, maximum and rate
    beats:beats:0:4:beats:110:170           the clock, of which only these tempos may be asked for
"""

from __future__ import annotations

import dataclasses
import functools

from absl import flags

from flags import _sections

# Its own module, because `musika-encode` takes that flag alone.
from flags import note_density as _note_density  # noqa: F401
from musika_tf.config import ConditioningConfig, Signal
from musika_tf.signals import BEATS, KNOWN_SIGNALS


class _SignalsParser(flags.ArgumentParser):
    """Parses `note_density,tempo_bpm:110:170` to two signals."""

    syntactic_help = "signals separated by commas"

    def parse(self, argument: str | tuple[Signal, ...]) -> tuple[Signal, ...]:
        if not isinstance(argument, str):
            return tuple(argument)
        return tuple(parse_signal(entry.strip()) for entry in argument.split(",") if entry.strip())


def parse_signal(entry: str) -> Signal:
    """One entry of `--conditioning`.

    Raises:
      ValueError: it is neither a known signal, with or without a range, nor a full description.
    """
    name, *rest = entry.split(":")
    try:
        if len(rest) == 4 or (name == BEATS and len(rest) == 6):
            unit, minimum, maximum, rate, *tempos_bpm = rest
            of_clock = {"tempos_bpm": tuple(map(float, tempos_bpm))} if tempos_bpm else {}
            return Signal(name, unit, float(minimum), float(maximum), rate, **of_clock)
        if name in KNOWN_SIGNALS and len(rest) in (0, 2):
            limits = dict(zip(("minimum", "maximum"), map(float, rest), strict=False))
            return dataclasses.replace(KNOWN_SIGNALS[name], **limits)
    except ValueError as error:
        raise ValueError(f"{entry!r}: {error}") from None
    raise ValueError(
        f"{entry!r} is no signal: write {' or '.join(KNOWN_SIGNALS)}, one of them with its range, "
        "like tempo_bpm:110:170, or NAME:UNIT:MINIMUM:MAXIMUM:RATE with the rate step or piece"
    )


CONDITIONING = flags.DEFINE(
    _SignalsParser(),
    "conditioning",
    ConditioningConfig.signals,
    "What conditions the generator along time: note_density, tempo_bpm, beats (musical time), "
    "one of them with its range, like tempo_bpm:110:170, or NAME:UNIT:MINIMUM:MAXIMUM:RATE with "
    "the rate step or piece; several are separated by commas; none makes an unconditional system.",
    serializer=flags.ListSerializer(","),
)


config = functools.partial(
    _sections.build, ConditioningConfig, flag_names={"signals": CONDITIONING.name}
)
