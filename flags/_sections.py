"""Flags made of the fields of a dataclass, and dataclasses made of parsed flags."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

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


# By the type of a field.
_KINDS = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple[int, ...]: functools.partial(
        flags.DEFINE, _IntTupleParser(), serializer=flags.ListSerializer(",")
    ),
}


def define(
    section: type[Section],
    *,
    choices: Mapping[str, Collection[str]] | None = None,
    **help_texts: str,
) -> Callable[..., Section]:
    """Defines a flag for each field that has a help text, with the field's default.

    Args:
      choices: by field what its flag may be, if not anything of its type.
      **help_texts: by field.

    Returns:
      `build` for this section: what the flags ask for.
    """
    types = typing.get_type_hints(section)
    for name, help_text in help_texts.items():
        default = section.__dataclass_fields__[name].default
        if choices and name in choices:
            flags.DEFINE_enum(name, default, choices[name], help_text)
        else:
            _KINDS[types[name]](name, default, help_text)
    return functools.partial(build, section)


def build(
    section: type[Section],
    saved: Section | None = None,
    flag_values: flags.FlagValues = flags.FLAGS,
    flag_names: Mapping[str, str] | None = None,
    **given: Any,
) -> Section:
    """Builds a dataclass from the flags named like its fields.

    Args:
      saved: the section of an existing run, or None for a new one. It answers for every flag that
        the user did not set; flags that the user did set stand, so that the caller can compare the
        two with `require_equal`.
      flag_values: parsed flags.
      flag_names: names of flags that are not those of their fields, by field.
      **given: fields that are not to be read from flags.

    Raises:
      ValueError: the values are out of range or do not fit each other.
    """
    values = dict(given)
    for field in dataclasses.fields(section):
        if field.name in given:
            continue
        flag = flag_values[(flag_names or {}).get(field.name, field.name)]
        from_saved = saved is not None and not flag.present
        values[field.name] = getattr(saved, field.name) if from_saved else flag.value
    return section(**values)
