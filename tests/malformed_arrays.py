"""Inputs that a signature must refuse, made by hypothesis from its table.

What malformed_rest.py and malformed_grpc.py have in common. Each malformed request is a good one
with one thing wrong, so it is known what the answer has to name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from hypothesis import strategies as st

from export.schema import Following, Port, Signature, Size

MODEL_NAME = "musika"
Contract = Mapping[str, Signature]

_NOT_FINITE = (np.nan, np.inf, -np.inf)


@st.composite
def wrong_array(draw: Callable, signature: Signature) -> tuple[str, np.ndarray]:
    """An input's name, and a value of its type that it must not have."""
    name = draw(st.sampled_from(sorted(signature.inputs)))
    port, good = signature.inputs[name], signature.example()[name]
    changes = [_wrong_rank, _wrong_rows, _wrong_size, _wrong_value]
    values = draw(st.sampled_from(changes))(draw, name, port, good)
    return name, np.asarray(values, good.dtype)


def _wrong_rank(draw: Callable, name: str, port: Port, good: np.ndarray) -> np.ndarray:
    return draw(st.sampled_from([good[0], good[None], good[..., None], good.flat[0]]))


def _wrong_rows(draw: Callable, name: str, port: Port, good: np.ndarray) -> np.ndarray:
    n_rows = draw(st.integers(0, 6).filter(lambda n: n != len(good)))
    return np.resize(good, (n_rows, *good.shape[1:]))


def _wrong_size(draw: Callable, name: str, port: Port, good: np.ndarray) -> np.ndarray:
    if good.ndim == 1:
        return _wrong_rows(draw, name, port, good)
    axis = draw(st.integers(1, good.ndim - 1))
    size, wanted = good.shape[axis], port.shape[axis]
    fits = {
        Size: lambda n: wanted.minimum <= n <= wanted.maximum and n % wanted.multiple_of == 0,
        Following: lambda n: n == size,
        int: lambda n: n == wanted,
    }[type(wanted)]
    other = draw(st.integers(0, 2 * size + 1).filter(lambda n: not fits(n)))
    return np.resize(good, (*good.shape[:axis], other, *good.shape[axis + 1 :]))


def _wrong_value(draw: Callable, name: str, port: Port, good: np.ndarray) -> np.ndarray:
    values = good.copy()
    if good.dtype.kind != "f":
        return _wrong_rank(draw, name, port, good)
    position = draw(st.integers(0, good.size - 1))
    wrong = list(_NOT_FINITE)
    if port.intervals:
        interval = port.intervals[position % len(port.intervals)]
        beyond = 0.1 * (interval.maximum - interval.minimum)
        wrong += [interval.minimum - beyond, interval.maximum + beyond, -1e30, 1e30]
        wrong += [interval.minimum] * interval.is_open
    values.flat[position] = draw(st.sampled_from(wrong))
    return values


unknown_name = st.from_regex(r"[a-z]{3,8}_[0-9]{2}", fullmatch=True)


def signature_name(contract: Contract) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(contract))
