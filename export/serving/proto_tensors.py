"""TensorProto ↔ arrays, for gRPC requests and recorded ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from export.serving import errors
from export.serving.servable import Input, Signature

# A string in an array costs a Python object: memory that the message itself does not show.
_BYTES_A_STRING = 64


def arrays(
    protos: Mapping[str, tensor_pb2.TensorProto], signature: Signature, max_bytes: int
) -> dict[str, np.ndarray]:
    """The inputs of a signature.

    Args:
      protos: by name.
      signature: that they are for.
      max_bytes: largest size of one array. A short message can stand for a huge one: a single
        value fills any shape.

    Raises:
      ServingError: names the input that does not fit.
    """
    signature.check_names(protos)
    return {
        name: _array(wanted, protos[name], max_bytes) for name, wanted in signature.inputs.items()
    }


def _array(wanted: Input, proto: tensor_pb2.TensorProto, max_bytes: int) -> np.ndarray:
    if proto.dtype != wanted.dtype.as_datatype_enum:
        raise errors.invalid(
            f"`{wanted.name}` must be of type {wanted.dtype.name}, not {_dtype_name(proto.dtype)}"
        )
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
        raise errors.invalid(f"`{wanted.name}` has a shape that is not fully known")
    item_size = wanted.dtype.size if wanted.dtype != tf.string else _BYTES_A_STRING
    # Sizes beside a zero count too: neither NumPy nor TensorFlow takes any number there.
    if math.prod(max(size, 1) for size in sizes) * item_size > max_bytes:
        raise errors.invalid(
            f"`{wanted.name}` of shape {sizes} is larger than {max_bytes / 2**20:g} MiB"
        )
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, OverflowError) as error:
        raise errors.invalid(f"`{wanted.name}` does not hold {sizes} values: {error}") from None


def _dtype_name(number: int) -> str:
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"number {number}, which is none"


def protos(outputs: Mapping[str, np.ndarray]) -> dict[str, tensor_pb2.TensorProto]:
    """Outputs as messages."""
    return {name: tf.make_tensor_proto(array) for name, array in outputs.items()}
