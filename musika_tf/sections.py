"""Sections of a config, which are frozen dataclasses: to and from JSON, checked, compared."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable
from typing import Any

from musika_tf.config_versions import CONFIG_VERSION, upgraded


def to_json(section: Any) -> str:
    """A section or whole config as JSON text, with the version of its fields."""
    return json.dumps({"version": CONFIG_VERSION, **dataclasses.asdict(section)}, indent=2)


def section_from_dict(section: type, values: Any, version: Any = CONFIG_VERSION) -> Any:
    """Builds a dataclass from what JSON made of its fields in a version of the config.

    Lists become tuples, of dataclasses where the field holds such. A field that is left out has its
    default.

    Raises:
      ValueError: an unknown version, no dictionary, a field that the section does not have, or one
        without a default that is left out.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{section.__name__} must be a JSON object of its fields, not {values!r}")
    values = upgraded(section.__name__, values, version)
    fields = {field.name: field.default for field in dataclasses.fields(section)}
    if unknown := values.keys() - fields:
        raise ValueError(f"{section.__name__} has no field named {', '.join(sorted(unknown))}")
    missing = [n for n, d in fields.items() if d is dataclasses.MISSING and n not in values]
    if missing:
        raise ValueError(f"{section.__name__} lacks {', '.join(missing)}")
    types = typing.get_type_hints(section)
    return section(**{name: _value(types[name], value) for name, value in values.items()})


def _value(kind: Any, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    element = (*typing.get_args(kind), None)[0]
    nested = dataclasses.is_dataclass(element)
    return tuple(section_from_dict(element, v) if nested else _value(element, v) for v in value)


def require(section: Any, rule: str, holds: Callable[[Any], bool], *names: str) -> None:
    """Raises a ValueError for the first field that a rule does not hold for, or that is empty."""
    for name in names:
        value = getattr(section, name)
        values = value if isinstance(value, tuple) else (value,)
        if not values or not all(map(holds, values)):
            raise ValueError(f"{name}={value} must {rule}")


def require_positive(section: Any, *names: str) -> None:
    """Raises a ValueError for the first field that is not positive, or empty."""
    require(section, "be positive", lambda value: value > 0, *names)


def require_equal(ours: Any, theirs: Any, ours_name: str, theirs_name: str) -> None:
    """Compares two instances of a section, or of a whole config, field by field.

    Raises:
      ValueError: they differ; the message names every field with both values and where each comes
        from.
    """
    differences = "; ".join(
        f"{name} is {a} in {ours_name} and {b} in {theirs_name}"
        for name, a, b in _differences(ours, theirs)
    )
    if differences:
        raise ValueError(f"{ours_name} and {theirs_name} do not fit together: {differences}")


def _differences(ours: Any, theirs: Any, prefix: str = ""):
    for field in dataclasses.fields(ours):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if dataclasses.is_dataclass(a):
            yield from _differences(a, b, f"{prefix}{field.name}.")
        elif a != b:
            yield f"{prefix}{field.name}", _shown(a), _shown(b)


def _shown(value: Any) -> Any:
    if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        return ",".join(map(str, value))
    return value if value != () else "none"
