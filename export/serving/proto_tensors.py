"""TensorProto → arrays, of gRPC requests and of recorded ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from export.serving import errors
from export.serving.model import Signature, check_shape


def arrays(
    protos: Mapping[str, tensor_pb2.TensorProto], signature: Signature, max_bytes: int
) -> dict[str, np.ndarray]:
    """The inputs of a signature, by name.

    Args:
      max_bytes: largest size of one array. A short message can stand for a huge one: a single
        value fills any shape.

    Raises:
      ServingError: names the input that does not fit.
    """
    signature.check_names(protos)
    return {name: _array(spec, protos[name], max_bytes) for name, spec in signature.inputs.items()}


def _array(spec: tf.TensorSpec, proto: tensor_pb2.TensorProto, max_bytes: int) -> np.ndarray:
    name, dtype = spec.name, spec.dtype
    if proto.dtype != dtype.as_datatype_enum:
        raise errors.invalid(
            f"`{name}` must be of type {dtype.name}, not {_dtype_name(proto.dtype)}"
        )
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
        raise errors.invalid(f"`{name}` has a shape that is not fully known")
    check_shape(spec, sizes)
    # Sizes beside a zero count too: neither NumPy nor TensorFlow takes any number there.
    if math.prod(max(size, 1) for size in sizes) * dtype.size > max_bytes:
        raise errors.invalid(f"`{name}` of shape {sizes} is larger than {max_bytes / 2**20:g} MiB")
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, OverflowError) as error:
        raise errors.invalid(f"`{name}` does not hold {sizes} values: {error}") from None


def _dtype_name(number: int) -> str:
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"number {number}, which is none"
