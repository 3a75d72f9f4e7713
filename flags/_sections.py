"""What the flag modules share: flags of several integers, and configs built from parsed flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from absl import flags

# A flag defined through a function of this module belongs to the module that called it: so
# `--help` and `saving.flags_into_string` find it where its help text stands.
flags.disclaim_key_flags()

Section = TypeVar("Section")


class _IntTupleParser(flags.ArgumentParser):
    """Parses `512,768` to `(512, 768)`."""

    syntactic_help = "integers separated by commas"

    def parse(self, argument: str | tuple[int, ...]) -> tuple[int, ...]:
        words = argument.split(",") if isinstance(argument, str) else argument
        try:
            return tuple(int(word) for word in words)
        except (TypeError, ValueError):
            raise ValueError(
                f"{argument!r} is not a list of whole numbers separated by commas, like 512,768"
            ) from None

    def flag_type(self) -> str:
        return "integers separated by commas"


class _IntTupleSerializer(flags.ArgumentSerializer):
    def serialize(self, value: tuple[int, ...]) -> str:
        return ",".join(str(number) for number in value)


def define_int_tuple(name: str, default: tuple[int, ...], help_text: str) -> flags.FlagHolder:
    """Defines a flag that takes integers separated by commas and gives a tuple of them."""
    return flags.DEFINE(
        _IntTupleParser(), name, default, help_text, serializer=_IntTupleSerializer()
    )


def build(
    section: type[Section],
    saved: Section | None,
    flag_values: flags.FlagValues,
    flag_names: Mapping[str, str] | None = None,
) -> Section:
    """Builds one config dataclass from the flags named like its fields.

    Args:
      section: The dataclass.
      saved: The section of an existing run, or None for a new one. Where it is given, it answers
        for every flag that the user did not set; flags that the user did set stand, so that the
        caller can compare the two with `require_equal` and report what does not fit.
      flag_values: Parsed flags.
      flag_names: Names of flags that are not those of their fields, by field.

    Returns:
      An instance of `section`.

    Raises:
      ValueError: The values are out of range or do not fit each other.
    """
    values = {}
    for field in dataclasses.fields(section):
        flag = flag_values[(flag_names or {}).get(field.name, field.name)]
        from_saved = saved is not None and not flag.present
        values[field.name] = getattr(saved, field.name) if from_saved else flag.value
    return section(**values)
