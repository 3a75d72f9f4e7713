"""Requests and answers in JSON ↔ arrays, as TensorFlow Serving's REST writes them.

Values are never coerced: a bool is no number, and a number that an input's type cannot hold is an
error.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf
from grpc import StatusCode

from export.serving import errors
from export.serving.model import Model, Signature, check_shape, quoted

_ROWS, _COLUMNS, _NAME = "instances", "inputs", "signature_name"
# By the kind of an input's NumPy dtype: types of JSON values that it may hold, in words, and the
# widest dtype that they are read as.
_KINDS = {
    "f": ({int, float}, "a number", np.float64),
    "i": ({int}, "a whole number", np.int64),
    "u": ({int}, "a whole number", np.int64),
    "b": ({bool}, "true or false", np.bool_),
}


def read(body: bytes, model: Model) -> tuple[Signature, dict[str, np.ndarray], bool]:
    """Reads the body of a predict request.

    Returns:
      The signature, its inputs, and whether they came in rows (`instances`).

    Raises:
      ServingError: it is not JSON, or not such a request; it names the input that does not fit.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.invalid(
            f"the body is not JSON, which has no NaN and no Infinity: {error}"
        ) from None
    if not isinstance(request, dict):
        raise errors.invalid("the body must be a JSON object")
    if unknown := request.keys() - {_ROWS, _COLUMNS, _NAME}:
        raise errors.invalid(
            f"unknown key `{min(unknown)[:100]}` in the body: it takes {_ROWS}, {_COLUMNS}, {_NAME}"
        )
    if (_ROWS in request) == (_COLUMNS in request):
        raise errors.invalid(f"the body must have either `{_ROWS}` or `{_COLUMNS}`")
    if not isinstance(name := request.get(_NAME, ""), str):
        raise errors.invalid(f"`{_NAME}` must be a string")
    signature, in_rows = model.signature(name), _ROWS in request
    columns = _columns_of_rows(request[_ROWS], signature) if in_rows else request[_COLUMNS]
    if not isinstance(columns, dict):
        columns = {_only_input(signature, _COLUMNS): columns}
    signature.check_names(columns)
    arrays = {name: array_of(spec, columns[name]) for name, spec in signature.inputs.items()}
    return signature, arrays, in_rows


def _columns_of_rows(rows: Any, signature: Signature) -> dict[str, list]:
    if not isinstance(rows, list) or not rows:
        raise errors.invalid(f"`{_ROWS}` must be a list with at least one row")
    if not any(isinstance(row, dict) for row in rows):
        return {_only_input(signature, _ROWS): rows}
    for row in rows:
        signature.check_names(row if isinstance(row, dict) else {})
    return {name: [row[name] for row in rows] for name in signature.inputs}


def _only_input(signature: Signature, key: str) -> str:
    if len(signature.inputs) != 1:
        raise errors.invalid(
            f"`{key}` must name the inputs of signature {signature.name!r}: "
            + quoted(signature.inputs)
        )
    return next(iter(signature.inputs))


def array_of(spec: tf.TensorSpec, value: Any) -> np.ndarray:
    """One input's nested lists as an array of its dtype.

    Raises:
      ServingError: lists of different lengths or depths, values of another type or out of range.
    """
    name, dtype = spec.name, np.dtype(spec.dtype.as_numpy_dtype)
    if dtype.kind not in _KINDS:
        raise errors.ServingError(
            StatusCode.UNIMPLEMENTED,
            f"`{name}` is of type {spec.dtype.name}, which REST does not carry here: use gRPC",
        )
    allowed, wanted, widest = _KINDS[dtype.kind]
    shape, values = _flattened(name, value)
    check_shape(spec, shape)
    if not set(map(type, values)) <= allowed:
        raise errors.invalid(f"`{name}` must hold {wanted} everywhere ({spec.dtype.name})")
    try:
        exact = np.array(values, widest)
    except OverflowError:
        raise errors.invalid(f"`{name}` holds a number too large for {spec.dtype.name}") from None
    with np.errstate(over="ignore"):
        array = exact.astype(dtype)
    # Floats may be rounded, whole numbers may not.
    wrong = ~np.isfinite(array) if dtype.kind == "f" else array != exact
    if np.any(wrong):
        raise errors.invalid(f"`{name}` holds {exact[wrong][0]}, too large for {spec.dtype.name}")
    return array.reshape(shape)


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
        level = list(itertools.chain.from_iterable(level))
    return tuple(shape), level


def answer(outputs: Mapping[str, np.ndarray], in_rows: bool) -> bytes:
    """The body of the answer: `predictions` for rows, `outputs` for columns.

    Binary values come as {"b64": ...}; NaN and infinities, which JSON lacks, as null.

    Raises:
      ServingError: the outputs have no common batch, so that they cannot be given as rows.
    """
    value: Any = dict(outputs)
    if len(outputs) == 1:
        (value,) = outputs.values()
    elif in_rows:
        try:
            rows = zip(*outputs.values(), strict=True)
            value = [dict(zip(outputs, row, strict=True)) for row in rows]
        except (TypeError, ValueError):
            shapes = {name: array.shape for name, array in outputs.items()}
            raise errors.invalid(
                f"the outputs have no common first size ({shapes}): ask in columns, `{_COLUMNS}`"
            ) from None
    key = "predictions" if in_rows else "outputs"
    return orjson.dumps({key: value}, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    """What orjson does not write by itself: binary values, and arrays of them or without axes."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value.tolist()
