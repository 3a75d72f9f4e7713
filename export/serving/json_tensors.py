"""Requests and answers in JSON ↔ arrays, as TensorFlow Serving's REST writes them.

Values are never coerced: a bool is no number, a number that an input's type cannot hold is an
error. NaN, Infinity and -Infinity, which JSON lacks and TensorFlow Serving takes, are read where
an input holds floats and written where an output has them.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from export.serving import errors
from export.serving.servable import Input, Signature

_ROW, _COLUMN = "instances", "inputs"
_KEYS = {_ROW, _COLUMN, "signature_name"}
_B64 = "b64"
_BYTES_SUFFIX = "_bytes"
# Types of JSON values that an array may hold, by the kind of its NumPy dtype.
_ALLOWED = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str, dict}}
_WANTED = {
    "f": "a number",
    "i": "a whole number",
    "u": "a whole number",
    "b": "true or false",
    "O": f'a string or {{"{_B64}": ...}}',
}
_JSON_NAMES = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a fraction",
    str: "a string",
    list: "a list",
    dict: "an object",
}
_MAX_RANK = 32
_INFINITIES = ("Infinity", "-Infinity", "NaN")


@dataclasses.dataclass(frozen=True)
class Body:
    """A predict request, read but not yet compared with a signature."""

    signature_name: str
    in_rows: bool
    values: Any

    def arrays(self, signature: Signature) -> dict[str, np.ndarray]:
        """The inputs of a signature.

        Raises:
          ServingError: names the input that does not fit.
        """
        by_name = self._rows(signature) if self.in_rows else self._columns(signature)
        return {name: array_of(signature.inputs[name], value) for name, value in by_name.items()}

    def _columns(self, signature: Signature) -> dict[str, Any]:
        if isinstance(self.values, dict) and not _is_b64(self.values):
            signature.check_names(self.values)
            return self.values
        return {_only_input(signature, _COLUMN): self.values}

    def _rows(self, signature: Signature) -> dict[str, list]:
        rows = self.values
        if not isinstance(rows, list) or not rows:
            raise errors.invalid(f"`{_ROW}` must be a list with at least one row")
        are_objects = [isinstance(row, dict) and not _is_b64(row) for row in rows]
        if not any(are_objects):
            return {_only_input(signature, _ROW): rows}
        for index, row in enumerate(rows):
            if not are_objects[index]:
                raise errors.invalid(
                    f"row {index} of `{_ROW}` is {_JSON_NAMES[type(row)]}, others are objects"
                )
            try:
                signature.check_names(row)
            except errors.ServingError as error:
                raise errors.invalid(f"row {index} of `{_ROW}`: {error}") from None
        return {name: [row[name] for row in rows] for name in signature.inputs}


def parse(body: bytes) -> Body:
    """Reads the body of a predict request.

    Raises:
      ServingError: it is not JSON, or not such a request.
    """
    if not body:
        raise errors.invalid("the request has no body")
    request = _loads(body)
    if not isinstance(request, dict):
        raise errors.invalid("the body must be a JSON object")
    if unknown := request.keys() - _KEYS:
        shown = ", ".join(f"`{key[:100]}`" for key in sorted(unknown)[:3])
        raise errors.invalid(f"unknown key {shown} in the body: it takes {sorted(_KEYS)}")
    if (_ROW in request) == (_COLUMN in request):
        raise errors.invalid(f"the body must have either `{_ROW}` or `{_COLUMN}`")
    signature_name = request.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise errors.invalid("`signature_name` must be a string")
    return Body(signature_name, _ROW in request, request.get(_ROW, request.get(_COLUMN)))


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not any(word.encode() in body for word in _INFINITIES):
            raise errors.invalid(f"the body is not JSON: {error}") from None
    # Only this parser knows the three words; it is several times slower.
    try:
        return json.loads(body)
    except RecursionError:
        raise errors.invalid("the body is not JSON: nested too deeply") from None
    except ValueError as error:
        raise errors.invalid(f"the body is not JSON: {error}") from None


def _only_input(signature: Signature, key: str) -> str:
    if len(signature.inputs) != 1:
        names = ", ".join(f"`{name}`" for name in signature.inputs)
        raise errors.invalid(
            f"`{key}` must name the inputs of signature {signature.name!r}: {names or 'none'}"
        )
    return next(iter(signature.inputs))


def array_of(wanted: Input, value: Any) -> np.ndarray:
    """One input's nested lists as an array of its dtype.

    Raises:
      ServingError: lists of different lengths or depths, values of another type or out of range.
    """
    dtype = _numpy_dtype(wanted)
    shape, values = _flattened(wanted.name, value)
    if found := set(map(type, values)) - _ALLOWED[dtype.kind]:
        names = " and ".join(sorted(_JSON_NAMES[kind] for kind in found))
        raise errors.invalid(
            f"`{wanted.name}` must hold {_WANTED[dtype.kind]} everywhere ({wanted.dtype.name}), "
            f"not {names}"
        )
    if dtype.kind == "O":
        array = np.empty(len(values), dtype)
        array[:] = [_bytes_of(wanted.name, element) for element in values]
    elif dtype.kind in "iu":
        array = _whole_numbers(wanted, values, dtype)
    else:
        array = _floats(wanted, values, dtype)
    return array.reshape(shape)


def _numpy_dtype(wanted: Input) -> np.dtype:
    dtype = np.dtype(wanted.dtype.as_numpy_dtype)
    if dtype.kind not in _ALLOWED or wanted.dtype == tf.float16:
        raise errors.ServingError(
            errors.Code.UNIMPLEMENTED,
            f"`{wanted.name}` is of type {wanted.dtype.name}, which REST cannot carry: use gRPC",
        )
    return dtype


def _flattened(name: str, value: Any) -> tuple[tuple[int, ...], list]:
    """Shape and values of nested lists, read level by level."""
    shape, level = [], [value]
    while level and list in (kinds := set(map(type, level))):
        if kinds != {list}:
            raise errors.invalid(f"`{name}` has lists beside values at depth {len(shape)}")
        lengths = set(map(len, level))
        if len(lengths) > 1:
            raise errors.invalid(
                f"`{name}` is ragged: at depth {len(shape)} its lists have lengths "
                f"{min(lengths)} to {max(lengths)}"
            )
        shape.append(lengths.pop())
        if len(shape) > _MAX_RANK:
            raise errors.invalid(f"`{name}` is nested more than {_MAX_RANK} levels deep")
        level = list(itertools.chain.from_iterable(level))
    return tuple(shape), level


def _whole_numbers(wanted: Input, values: list[int], dtype: np.dtype) -> np.ndarray:
    limits = np.iinfo(dtype)
    least, greatest = min(values, default=0), max(values, default=0)
    if least < limits.min or greatest > limits.max:
        raise errors.invalid(
            f"`{wanted.name}` must hold numbers from {limits.min} to {limits.max} "
            f"({wanted.dtype.name}), not {_shown(least if least < limits.min else greatest)}"
        )
    return np.array(values, dtype)


def _floats(wanted: Input, values: list, dtype: np.dtype) -> np.ndarray:
    try:
        exact = np.array(values, bool if dtype.kind == "b" else np.float64)
    except OverflowError:
        raise errors.invalid(f"`{wanted.name}` holds a number too large for any float") from None
    with np.errstate(over="ignore"):
        array = exact.astype(dtype)
    if dtype.kind == "f" and np.any(too_large := np.isfinite(exact) & ~np.isfinite(array)):
        raise errors.invalid(
            f"`{wanted.name}` holds {exact[too_large][0]:g}, too large for {wanted.dtype.name}"
        )
    return array


def _shown(number: int) -> str:
    text = str(number) if abs(number) < 10**30 else f"a number of {number.bit_length()} bits"
    return text


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_B64} and isinstance(value[_B64], str)


def _bytes_of(name: str, value: str | dict) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if _is_b64(value):
            return base64.b64decode(value[_B64], validate=True)
    except (binascii.Error, ValueError):
        raise errors.invalid(f"`{name}` holds text that is not base64 (or not UTF-8)") from None
    raise errors.invalid(f'`{name}` holds an object that is not {{"{_B64}": "..."}}')


def answer(outputs: Mapping[str, np.ndarray], in_rows: bool) -> bytes:
    """The body of the answer: `predictions` for rows, `outputs` for columns.

    Raises:
      ServingError: the outputs have no common batch, so that they cannot be given as rows.
    """
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        if in_rows:
            _n_rows(outputs)
        return _dumps("predictions" if in_rows else "outputs", _writable(name, array))
    if not in_rows:
        return _dumps("outputs", {name: _writable(name, a) for name, a in outputs.items()})
    rows = [
        {name: _writable(name, array[row]) for name, array in outputs.items()}
        for row in range(_n_rows(outputs))
    ]
    return _dumps("predictions", rows)


def _n_rows(outputs: Mapping[str, np.ndarray]) -> int:
    """Rows that all outputs have."""
    lengths = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        raise errors.invalid(
            f"the outputs have no common first size ({lengths}): ask in columns, with `{_COLUMN}`"
        )
    return next(iter(lengths.values()))


def _dumps(key: str, value: Any) -> bytes:
    return orjson.dumps({key: value}, option=orjson.OPT_SERIALIZE_NUMPY)


def _writable(name: str, array: np.ndarray) -> Any:
    """What orjson writes as TensorFlow Serving would."""
    array = np.asarray(array)
    if array.dtype.kind in "OSU":
        return _strings(name, array)
    if array.dtype.kind not in "fiub" or array.dtype == np.float16:
        raise errors.ServingError(
            errors.Code.UNIMPLEMENTED,
            f"output `{name}` is of type {array.dtype}, which REST cannot carry: use gRPC",
        )
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        return orjson.Fragment(json.dumps(array.tolist(), separators=(",", ":")))
    # orjson takes contiguous arrays of at least one dimension.
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _strings(name: str, array: np.ndarray) -> Any:
    in_base64 = name.endswith(_BYTES_SUFFIX)

    def written(value: Any) -> Any:
        if isinstance(value, list):
            return [written(element) for element in value]
        if not in_base64:
            try:
                return value.decode()
            except UnicodeDecodeError:
                pass  # JSON holds text only, so what is none goes the way of binary values.
        return {_B64: base64.b64encode(value).decode()}

    return written(array.tolist())
