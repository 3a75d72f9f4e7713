"""Malformed gRPC requests to a model server, made by hypothesis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from malformed_arrays import Contract, signature_name, unknown_name, wrong_array
from serving_client import predict_request
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

PREDICT = "/tensorflow.serving.PredictionService/Predict"


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


def malformed_requests(contract: Contract) -> st.SearchStrategy[GrpcRequest]:
    """Malformed gRPC requests."""
    kinds = (_tensor, _tensor, _type, _damage, _other_inputs, _model_spec, _method)
    return st.sampled_from(kinds).flatmap(lambda kind: kind(contract))


def good_proto(contract: Contract, signature: str) -> predict_pb2.PredictRequest:
    """A good request."""
    return predict_request(contract[signature].example(), signature)


def _sent(request: predict_pb2.PredictRequest, *names: str) -> GrpcRequest:
    return GrpcRequest(PREDICT, request.SerializeToString(deterministic=True), names)


@st.composite
def _tensor(draw: Callable, contract: Contract) -> GrpcRequest:
    signature = draw(signature_name(contract))
    name, wrong = draw(wrong_array(contract[signature]))
    request = good_proto(contract, signature)
    request.inputs[name].CopyFrom(tf.make_tensor_proto(wrong))
    return _sent(request, name)


@st.composite
def _type(draw: Callable, contract: Contract) -> GrpcRequest:
    """The right shape in another type."""
    signature = draw(signature_name(contract))
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
    signature = draw(signature_name(contract))
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
    request = good_proto(contract, draw(signature_name(contract)))
    name = draw(st.sampled_from(sorted(request.inputs)))
    stranger = draw(unknown_name)
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
    request = good_proto(contract, draw(signature_name(contract)))
    stranger, version = draw(unknown_name), draw(st.integers(2, 2**63 - 1))
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
        return _sent(request, stranger, "version_label")
    else:
        request.ClearField("model_spec")
        return _sent(request, "model_spec", "name", "model")
    return _sent(request, stranger)


@st.composite
def _method(draw: Callable, contract: Contract) -> GrpcRequest:
    """Methods that the server does not have, and a request that says nothing."""
    good = _sent(good_proto(contract, draw(signature_name(contract)))).message
    stranger, service = draw(unknown_name), "tensorflow.serving.PredictionService"
    no_method = ("Method", "method", stranger)
    return draw(
        st.sampled_from(
            [
                GrpcRequest(PREDICT, b"", ("model_spec", "name", "model")),
                GrpcRequest(f"/{service}/{stranger}", good, no_method),
                GrpcRequest(f"/{stranger}/Predict", good, no_method),
                GrpcRequest(f"/{service}/Classify", b"", ("Method", "method", "Classify")),
            ]
        )
    )
