"""The errors that clients see: one code for REST and gRPC, and a message for people."""

from __future__ import annotations

import enum
import re

import tensorflow as tf


class Code(enum.Enum):
    """Names as in gRPC, values as in HTTP; the pairs are TensorFlow Serving's."""

    INVALID_ARGUMENT = 400
    NOT_FOUND = 404
    CANCELLED = 499
    RESOURCE_EXHAUSTED = 429
    INTERNAL = 500
    UNIMPLEMENTED = 501
    UNAVAILABLE = 503
    DEADLINE_EXCEEDED = 504


class ServingError(Exception):
    """An answer that is an error.

    Attributes:
      code: what kind.
      http_status: of `code`, or one that says more where HTTP has it (405, 408, 413, 415).
    """

    def __init__(self, code: Code, message: str, http_status: int | None = None):
        super().__init__(message)
        self.code = code
        self.http_status = http_status or code.value


def invalid(message: str) -> ServingError:
    """The error of a request that can never succeed."""
    return ServingError(Code.INVALID_ARGUMENT, message)


# Kinds of TensorFlow errors that are the caller's; all others are this server's or the model's.
_CODES = {
    tf.errors.InvalidArgumentError: Code.INVALID_ARGUMENT,
    tf.errors.OutOfRangeError: Code.INVALID_ARGUMENT,
    tf.errors.FailedPreconditionError: Code.INVALID_ARGUMENT,
    tf.errors.DeadlineExceededError: Code.DEADLINE_EXCEEDED,
    tf.errors.ResourceExhaustedError: Code.RESOURCE_EXHAUSTED,
    tf.errors.UnimplementedError: Code.UNIMPLEMENTED,
}
# What TensorFlow puts around the message of an operation: where in the graph it stands.
_PREAMBLE = re.compile(
    r"\A(?:Graph execution error:\s*)?(?:Detected at node.*?\n<stack[^\n]*>\n)?", re.S
)
_NODE = re.compile(r"\s*\[\[\{\{node .*|\s*\[Op:[^\]]*\]\s*\Z", re.S)


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """The answer to a call that failed inside TensorFlow, without names of graph nodes."""
    code = _CODES.get(type(error), Code.INTERNAL)
    message = _NODE.sub("", _PREAMBLE.sub("", error.message)).strip()
    return ServingError(code, message or type(error).__name__)
