"""Flags of what controls a conditional model: one for each known signal, and one for all others."""

from __future__ import annotations

from absl import flags

from musika_tf.signals import KNOWN_SIGNALS, TEMPO_SIGNAL

# Of the clock people give the tempo, which is known too.
_NAMES = [name for name, signal in KNOWN_SIGNALS.items() if not signal.is_clock]
_MORE = {TEMPO_SIGNAL.name: f" or has a clock, whose tempo is from {TEMPO_SIGNAL.range_text}"}

for _name in _NAMES:
    flags.DEFINE_string(
        _name,
        None,
        f"What a model conditioned on {_name} is to follow, from {KNOWN_SIGNALS[_name].range_text} "
        f"unless it was trained on another range{_MORE.get(_name, '')}: a number, random_walk, "
        "random_walk:MINIMUM:MAXIMUM, or a CSV file with the columns time_seconds,value.",
    )
CONDITION = flags.DEFINE_multi_string(
    "condition",
    [],
    "The same for any signal, as NAME=VALUE, like --condition=note_density=0.3; may be repeated.",
)


def texts(flag_values: flags.FlagValues = flags.FLAGS) -> dict[str, str]:
    """What was written of each control, by name of the signal.

    Raises:
      ValueError: a condition without name or value, or a signal that is given twice.
    """
    values = {name: flag_values[name].value for name in _NAMES}
    found = {name: value for name, value in values.items() if value is not None}
    for entry in flag_values[CONDITION.name].value:
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not (name and equals and value):
            raise ValueError(
                f"--condition={entry} must be NAME=VALUE, like --condition=note_density=0.3"
            )
        if name in found:
            raise ValueError(f"{name} is given twice: {found[name]} and {value}")
        found[name] = value
    return found
