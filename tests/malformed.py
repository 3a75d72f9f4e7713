"""Malformed requests to a model server, made by hypothesis from the tables of the signatures.

Each is a good request with one thing wrong, so it is known what the answer has to name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

from export.signatures import Following, Signature, Size

MODEL_NAME = "musika"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
# Beyond what any input of that name may hold; those of conditional models come from their signals.
_OUT_OF_RANGE = {"seconds": (0.0, -1.0, 1e9), "truncation": (0.0, -2.0)}
_NOT_FINITE = (np.nan, np.inf, -np.inf)
# Words that name the part of a JSON request in which something is wrong.
_JSON = ("JSON",)

Contract = Mapping[str, Signature]


@dataclasses.dataclass(frozen=True)
class RestRequest:
    """One HTTP request.

    Attributes:
      path: of the URL.
      body: bytes sent; None: it is a GET.
      names: the answer must hold one of these words.
      headers: further ones.
    """

    path: str
    body: bytes | None
    names: tuple[str, ...]
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class GrpcRequest:
    """One gRPC request.

    Attributes:
      method: full name.
      message: bytes sent.
      names: the answer must hold one of these words.
    """

    method: str
    message: bytes
    names: tuple[str, ...]


# Arrays


@st.composite
def _wrong_array(draw: Callable, signature: Signature) -> tuple[str, np.ndarray]:
    """An input's name, and a value of its type that it must not have."""
    name = draw(st.sampled_from(sorted(signature.inputs)))
    port, good = signature.inputs[name], signature.example()[name]
    changes = [_wrong_rank, _wrong_rows, _wrong_size, _wrong_value]
    values = draw(st.sampled_from(changes))(draw, name, port, good)
    return name, np.asarray(values, good.dtype)


def _wrong_rank(draw: Callable, name: str, port, good: np.ndarray) -> np.ndarray:
    return draw(st.sampled_from([good[0], good[None], good[..., None], good.flat[0]]))


def _wrong_rows(draw: Callable, name: str, port, good: np.ndarray) -> np.ndarray:
    n_rows = draw(st.integers(0, 6).filter(lambda n: n != len(good)))
    return np.resize(good, (n_rows, *good.shape[1:]))


def _wrong_size(draw: Callable, name: str, port, good: np.ndarray) -> np.ndarray:
    if good.ndim == 1:
        return _wrong_rows(draw, name, port, good)
    axis = draw(st.integers(1, good.ndim - 1))
    size, wanted = good.shape[axis], port.shape[axis]
    fits = {
        Size: lambda n: n >= wanted.minimum and n % wanted.multiple_of == 0,
        Following: lambda n: n == size,
        int: lambda n: n == wanted,
    }[type(wanted)]
    other = draw(st.integers(0, 2 * size + 1).filter(lambda n: not fits(n)))
    return np.resize(good, (*good.shape[:axis], other, *good.shape[axis + 1 :]))


def _wrong_value(draw: Callable, name: str, port, good: np.ndarray) -> np.ndarray:
    values = good.copy()
    if good.dtype.kind != "f":
        return _wrong_rank(draw, name, port, good)
    position = draw(st.integers(0, good.size - 1))
    wrong = [*_NOT_FINITE, *_OUT_OF_RANGE.get(name, ())]
    if port.signals:
        signal = port.signals[position % len(port.signals)]
        width = signal.maximum - signal.minimum
        wrong += [signal.minimum - 0.1 * width, signal.maximum + 0.1 * width, 1e9]
    values.flat[position] = draw(st.sampled_from(wrong))
    return values


_unknown_name = st.from_regex(r"[a-z]{3,8}_[0-9]{2}", fullmatch=True)


def _signature_name(contract: Contract) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(contract))


# REST


def rest_requests(contract: Contract) -> st.SearchStrategy[RestRequest]:
    """Malformed HTTP requests to a server that limits bodies to 1 MiB."""
    kinds = (_array, _element, _left_out, _stranger, _broken_json, _no_request, _structure, _url)
    return st.sampled_from(kinds).flatmap(lambda kind: kind(contract))


def _predict(body: bytes, names: tuple[str, ...], **headers: str) -> RestRequest:
    return RestRequest(f"/v1/models/{MODEL_NAME}:predict", body, names, headers)


def good_json(contract: Contract, signature: str, in_rows: bool) -> dict:
    """A good request, by rows (`instances`) or by columns (`inputs`)."""
    columns = {name: a.tolist() for name, a in contract[signature].example().items()}
    if not in_rows:
        return {"signature_name": signature, "inputs": columns}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"signature_name": signature, "instances": rows}


@st.composite
def _array(draw: Callable, contract: Contract) -> RestRequest:
    signature = draw(_signature_name(contract))
    name, wrong = draw(_wrong_array(contract[signature]))
    request = good_json(contract, signature, in_rows=False)
    request["inputs"][name] = wrong.tolist()
    # NaN is no JSON, though Python writes it: that may be what the answer says.
    return _predict(json.dumps(request).encode(), (name, "NaN", "Infinity"))


_NO_NUMBERS = (
    '"text"',
    "null",
    "true",
    "{}",
    '{"b64": "AAAA"}',
    '{"b64": "&"}',
    '{"c": 1}',
    "[[1], 2]",
    "1e999",
    "-1e999",
    f"{10**400}",
)


@st.composite
def _element(draw: Callable, contract: Contract) -> RestRequest:
    """One number, or a whole input, is no number."""
    signature, in_rows = draw(_signature_name(contract)), draw(st.booleans())
    request = good_json(contract, signature, in_rows)
    rows = draw(st.sampled_from(request["instances"])) if in_rows else request["inputs"]
    name = draw(st.sampled_from(sorted(rows)))
    holder, key = rows, name
    while isinstance(holder[key], list) and draw(st.booleans()):
        holder, key = holder[key], draw(st.integers(0, len(holder[key]) - 1))
    choices = _NO_NUMBERS
    if contract[signature].inputs[name].dtype.is_integer:
        choices += ("1.5", f"{2**31}", f"{-(2**31) - 1}", f"{2**70}")
    holder[key] = "HERE"
    text = json.dumps(request).replace('"HERE"', draw(st.sampled_from(choices)))
    return _predict(text.encode(), (name,))


@st.composite
def _left_out(draw: Callable, contract: Contract) -> RestRequest:
    signature, in_rows = draw(_signature_name(contract)), draw(st.booleans())
    request = good_json(contract, signature, in_rows)
    rows = draw(st.sampled_from(request["instances"])) if in_rows else request["inputs"]
    name = draw(st.sampled_from(sorted(rows)))
    del rows[name]
    return _predict(json.dumps(request).encode(), (name,))


@st.composite
def _stranger(draw: Callable, contract: Contract) -> RestRequest:
    """An input or a signature that the model does not have."""
    signature, in_rows = draw(_signature_name(contract)), draw(st.booleans())
    name = draw(_unknown_name)
    request = good_json(contract, signature, in_rows)
    if draw(st.booleans()):
        request["signature_name"] = name
    elif in_rows:
        draw(st.sampled_from(request["instances"]))[name] = 1.0
    else:
        request["inputs"][name] = [1.0, 1.0]
    return _predict(json.dumps(request).encode(), (name,))


@st.composite
def _broken_json(draw: Callable, contract: Contract) -> RestRequest:
    signature, in_rows = draw(_signature_name(contract)), draw(st.booleans())
    good = json.dumps(good_json(contract, signature, in_rows)).encode()
    position = draw(st.integers(0, len(good) - 1))
    broken = [
        good[:position],
        good + draw(st.sampled_from([b"}", b"{}", b"x", b"\0"])),
        good[:position] + b"\xff\xfe" + good[position:],
        draw(st.binary(max_size=50)) + b"\x80",
        b"[" * draw(st.integers(1, 200_000)),
        b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"inputs": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    ]
    return _predict(draw(st.sampled_from(broken)), (*_JSON, "instances", "inputs"))


@st.composite
def _no_request(draw: Callable, contract: Contract) -> RestRequest:
    """JSON that is no request at all."""
    nothing = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    value = draw(nothing | st.lists(nothing, max_size=3) | st.dictionaries(_unknown_name, nothing))
    return _predict(json.dumps(value).encode(), (*_JSON, "instances", "inputs"))


@st.composite
def _structure(draw: Callable, contract: Contract) -> RestRequest:
    signature = draw(_signature_name(contract))
    rows, columns = (good_json(contract, signature, in_rows) for in_rows in (True, False))
    no_table = st.sampled_from([3, "text", True, [], [[]], [1.0], ["text"], [None], {"b64": "AA"}])
    inputs = (*columns["inputs"], "b64")
    changed, names = draw(
        st.one_of(
            st.just((rows | columns, ("instances", "inputs"))),
            no_table.map(lambda value: (rows | {"instances": value}, ("instances", *inputs))),
            no_table.map(lambda value: (columns | {"inputs": value}, ("inputs", *inputs))),
            st.sampled_from([3, [signature], {}, True]).map(
                lambda value: (rows | {"signature_name": value}, ("signature_name",))
            ),
        )
    )
    return _predict(json.dumps(changed).encode(), names)


@st.composite
def _url(draw: Callable, contract: Contract) -> RestRequest:
    """A good body at a wrong place, or packed wrongly."""
    request = good_json(contract, draw(_signature_name(contract)), draw(st.booleans()))
    body, name, base = json.dumps(request).encode(), draw(_unknown_name), "/v1/models"
    version = draw(st.integers(2, 10**30))
    requests = [
        RestRequest(f"{base}/{name}:predict", body, (name,)),
        RestRequest(f"{base}/{name}", None, (name,)),
        RestRequest(f"{base}/{name}/metadata", None, (name,)),
        RestRequest(f"{base}/{MODEL_NAME}/versions/{version}:predict", body, (str(version),)),
        RestRequest(f"{base}/{MODEL_NAME}/versions/{version}/metadata", None, (str(version),)),
        RestRequest(f"{base}/{MODEL_NAME}/versions/{name}:predict", body, (name,)),
        RestRequest(f"{base}/{MODEL_NAME}/labels/{name}:predict", body, (name, "labels")),
        RestRequest(f"{base}/{MODEL_NAME}:{name}", body, (name,)),
        RestRequest(f"/{name}", body, (name,)),
        RestRequest(f"{base}/{MODEL_NAME}:predict", None, ("GET", "POST", "method", "Method")),
        _predict(body, ("gzip", "Content-Encoding"), **{"Content-Encoding": "gzip"}),
        _predict(b" " * 2**20 + body, ("body", "long", "large", "bytes", "MiB")),
    ]
    return draw(st.sampled_from(requests))


# gRPC


def grpc_requests(contract: Contract) -> st.SearchStrategy[GrpcRequest]:
    """Malformed gRPC requests."""
    kinds = (_tensor, _tensor, _type, _damage, _other_inputs, _model_spec, _method)
    return st.sampled_from(kinds).flatmap(lambda kind: kind(contract))


def good_proto(contract: Contract, signature: str) -> predict_pb2.PredictRequest:
    """A good request."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signature
    for name, value in contract[signature].example().items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def _sent(request: predict_pb2.PredictRequest, *names: str) -> GrpcRequest:
    return GrpcRequest(PREDICT, request.SerializeToString(deterministic=True), names)


@st.composite
def _tensor(draw: Callable, contract: Contract) -> GrpcRequest:
    signature = draw(_signature_name(contract))
    name, wrong = draw(_wrong_array(contract[signature]))
    request = good_proto(contract, signature)
    request.inputs[name].CopyFrom(tf.make_tensor_proto(wrong))
    return _sent(request, name)


@st.composite
def _type(draw: Callable, contract: Contract) -> GrpcRequest:
    """The right shape in another type."""
    signature = draw(_signature_name(contract))
    name = draw(st.sampled_from(sorted(contract[signature].inputs)))
    good = contract[signature].example()[name]
    types = (np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, bool, str)
    other = draw(st.sampled_from([t for t in (*types, np.complex64) if good.dtype != t]))
    request = good_proto(contract, signature)
    request.inputs[name].CopyFrom(tf.make_tensor_proto(good.astype(other)))
    return _sent(request, name)


@st.composite
def _damage(draw: Callable, contract: Contract) -> GrpcRequest:
    """A tensor whose parts do not belong together, or that would not fit in any memory."""
    signature = draw(_signature_name(contract))
    request = good_proto(contract, signature)
    name = draw(st.sampled_from(sorted(request.inputs)))
    tensor = request.inputs[name]
    what = draw(st.integers(0, 6))
    if what == 0:
        tensor.tensor_content = tensor.tensor_content + draw(st.binary(min_size=1, max_size=9))
    elif what == 1:
        tensor.tensor_content = b"\0" * draw(st.integers(1, 7))
    elif what == 2:
        tensor.tensor_shape.dim[0].size = -draw(st.integers(1, 2**62))
    elif what == 3:
        tensor.tensor_shape.unknown_rank = True
        del tensor.tensor_shape.dim[:]
    elif what == 4:
        other = [types_pb2.DT_INVALID, types_pb2.DT_RESOURCE, types_pb2.DT_VARIANT, 9999]
        tensor.dtype = draw(st.sampled_from(other))
    else:
        # One value stands for as many as the shape says.
        like = {"float32": "float_val", "int32": "int_val"}
        field = getattr(tensor, like[contract[signature].inputs[name].dtype.name])
        tensor.ClearField("tensor_content")
        del field[:]
        field.append(1)
        tensor.tensor_shape.dim[0].size = draw(st.sampled_from([2**33, 2**40, 2**62]))
    return _sent(request, name)


@st.composite
def _other_inputs(draw: Callable, contract: Contract) -> GrpcRequest:
    """An input or an output too many, or an input too few."""
    request = good_proto(contract, draw(_signature_name(contract)))
    name = draw(st.sampled_from(sorted(request.inputs)))
    stranger = draw(_unknown_name)
    what = draw(st.integers(0, 3))
    if what == 0:
        del request.inputs[name]
        return _sent(request, name)
    if what == 1:
        request.inputs[stranger].CopyFrom(request.inputs[name])
        del request.inputs[name]
        return _sent(request, name, stranger)
    if what == 2:
        request.inputs[stranger].CopyFrom(request.inputs[name])
    else:
        request.output_filter.append(stranger)
    return _sent(request, stranger)


@st.composite
def _model_spec(draw: Callable, contract: Contract) -> GrpcRequest:
    """A model, version or signature that the server does not have."""
    request = good_proto(contract, draw(_signature_name(contract)))
    stranger, version = draw(_unknown_name), draw(st.integers(2, 2**63 - 1))
    what = draw(st.integers(0, 4))
    if what == 0:
        request.model_spec.name = stranger
    elif what == 1:
        request.model_spec.signature_name = stranger
    elif what == 2:
        request.model_spec.version.value = version
        return _sent(request, str(version))
    elif what == 3:
        request.model_spec.version_label = stranger
    else:
        request.ClearField("model_spec")
        return _sent(request, "model_spec", "name", "model")
    return _sent(request, stranger)


@st.composite
def _method(draw: Callable, contract: Contract) -> GrpcRequest:
    """Bytes that are no message, and methods that the server does not have."""
    good = _sent(good_proto(contract, draw(_signature_name(contract)))).message
    noise = b"\xff" + draw(st.binary(max_size=40))
    stranger = draw(_unknown_name)
    return draw(
        st.sampled_from(
            [
                GrpcRequest(PREDICT, noise, ("request", "message", "PredictRequest")),
                GrpcRequest(PREDICT, good[:-1], ("request", "message", "PredictRequest")),
                GrpcRequest(PREDICT, b"", ("model_spec", "name", "model")),
                GrpcRequest(
                    f"/tensorflow.serving.PredictionService/{stranger}",
                    good,
                    ("Method", "method", stranger),
                ),
                GrpcRequest(f"/{stranger}/Predict", good, ("Method", "method", stranger)),
                GrpcRequest(
                    "/tensorflow.serving.PredictionService/Classify", b"", ("Method", "method")
                ),
            ]
        )
    )
