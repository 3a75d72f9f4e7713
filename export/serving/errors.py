"""The errors that clients see: one code for REST and gRPC, and a message for people."""

from __future__ import annotations

import re

import tensorflow as tf
from grpc import StatusCode

# HTTP's status for gRPC's, as TensorFlow Serving pairs them; any other is 500.
_HTTP_STATUSES = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.NOT_FOUND: 404,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
# Kinds of TensorFlow errors that are the caller's; all others are this server's or the model's.
_TENSORFLOW_CODES = {
    tf.errors.InvalidArgumentError: StatusCode.INVALID_ARGUMENT,
    tf.errors.OutOfRangeError: StatusCode.INVALID_ARGUMENT,
    tf.errors.FailedPreconditionError: StatusCode.INVALID_ARGUMENT,
    tf.errors.DeadlineExceededError: StatusCode.DEADLINE_EXCEEDED,
    tf.errors.ResourceExhaustedError: StatusCode.RESOURCE_EXHAUSTED,
    tf.errors.UnimplementedError: StatusCode.UNIMPLEMENTED,
}
# What a session puts behind the message of an operation: where in the graph it stands.
_NODE = re.compile(r"\s*\[\[\{\{node .*", re.DOTALL)


class ServingError(Exception):
    """An answer that is an error.

    Attributes:
      code: gRPC's.
      http_status: of `code`, or one that says more where HTTP has it (413, 415).
    """

    def __init__(self, code: StatusCode, message: str, http_status: int | None = None):
        super().__init__(message)
        self.code = code
        self.http_status = http_status or _HTTP_STATUSES.get(code, 500)


def invalid(message: str) -> ServingError:
    """The error of a request that can never succeed."""
    return ServingError(StatusCode.INVALID_ARGUMENT, message)


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """The answer to a call that failed inside TensorFlow, without names of graph nodes."""
    code = _TENSORFLOW_CODES.get(type(error), StatusCode.INTERNAL)
    return ServingError(code, _NODE.sub("", error.message).strip() or type(error).__name__)
