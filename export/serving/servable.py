"""One loaded version of a model: its signatures, checked calls, and an end that frees its memory.

Versions are loaded by the session loader, which is TensorFlow Serving's too. Measured over twenty
loads of a model of 2 MB: `tf.saved_model.load` kept 33 MB of each for ever, a closed session
nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from export.serving import errors

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
_INIT_SIGNATURE = "__saved_model_init_op"


@dataclasses.dataclass(frozen=True)
class Input:
    """What one input of a signature takes.

    Attributes:
      name: in the signature.
      dtype: exactly this one; nothing is cast that could lose or change values.
      shape: as far as the graph itself asks for it.
    """

    name: str
    dtype: tf.DType
    shape: tf.TensorShape

    def check(self, array: np.ndarray) -> None:
        """Raises ServingError if the graph could not be fed with this array."""
        if not self.shape.is_compatible_with(array.shape):
            raise errors.invalid(
                f"`{self.name}` must have shape {_shape_text(self.shape)}, not {list(array.shape)}"
            )


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry point of a loaded version.

    Attributes:
      name: under which clients ask for it.
      inputs: by name.
      outputs: names.
    """

    name: str
    inputs: Mapping[str, Input]
    outputs: tuple[str, ...]
    _function: Callable[..., list[np.ndarray]] = dataclasses.field(repr=False)

    def __call__(
        self, arrays: Mapping[str, np.ndarray], timeout_seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        """Runs the signature.

        Args:
          arrays: exactly the inputs, each of its dtype; strings as arrays of bytes objects.
          timeout_seconds: after which TensorFlow gives up, between two operations; None for never.

        Returns:
          The outputs by name.

        Raises:
          ServingError: an input is missing, unknown or has a wrong shape, or the model refused it,
            or it took too long.
        """
        self.check_names(arrays)
        for name, wanted in self.inputs.items():
            wanted.check(arrays[name])
        # 0 would be no limit.
        milliseconds = 0 if timeout_seconds is None else max(1, int(timeout_seconds * 1000))
        options = tf.compat.v1.RunOptions(timeout_in_ms=milliseconds)
        try:
            values = self._function(*(arrays[name] for name in self.inputs), options=options)
        except tf.errors.OpError as error:
            raise errors.from_tensorflow(error) from error
        return dict(zip(self.outputs, map(np.asarray, values), strict=True))

    def check_names(self, given: Mapping[str, object]) -> None:
        """Raises ServingError unless exactly the inputs are given."""
        takes = f"signature {self.name!r} takes " + _names(self.inputs)
        if missing := self.inputs.keys() - given.keys():
            raise errors.invalid(f"{_names(missing)} missing: {takes}")
        if unknown := given.keys() - self.inputs.keys():
            raise errors.invalid(f"unknown input {_names(unknown)}: {takes}")


class Servable:
    """A version in memory.

    Attributes:
      version: its number.
      definition: its MetaGraphDef's signatures, as the model was saved with them.
    """

    def __init__(self, path: str | os.PathLike, version: int):
        """Loads a version.

        Raises:
          OSError, ValueError, tf.errors.OpError, ...: whatever is wrong with the files.
        """
        self.version = version
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=_session_config())
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(
                    self._session, [tf.saved_model.SERVING], str(path)
                )
            self.definition: Mapping[str, meta_graph_pb2.SignatureDef] = dict(
                meta_graph.signature_def
            )
            self._signatures = {
                name: self._signature(name, definition)
                for name, definition in self.definition.items()
                if name != _INIT_SIGNATURE
            }
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Frees what the version holds; nothing may run on it any more."""
        self._signatures = {}
        self._session.close()

    @property
    def signature_names(self) -> tuple[str, ...]:
        return tuple(sorted(self._signatures))

    def signature(self, name: str) -> Signature:
        """The signature of a name, the default one for an empty name.

        Raises:
          ServingError: there is none.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self._signatures:
            raise errors.invalid(
                f"unknown signature {name[:100]!r}: version {self.version} has "
                + _names(self.signature_names)
            )
        return self._signatures[name]

    def _signature(self, name: str, definition: meta_graph_pb2.SignatureDef) -> Signature:
        graph = self._session.graph
        ports = [*definition.inputs.values(), *definition.outputs.values()]
        if any(port.WhichOneof("encoding") != "name" for port in ports):
            raise ValueError(f"signature {name!r} has sparse or composite tensors")
        tensors = {key: graph.get_tensor_by_name(i.name) for key, i in definition.inputs.items()}
        outputs = {key: graph.get_tensor_by_name(i.name) for key, i in definition.outputs.items()}
        return Signature(
            name,
            {key: Input(key, t.dtype, t.shape) for key, t in sorted(tensors.items())},
            tuple(sorted(outputs)),
            self._session.make_callable(
                [outputs[key] for key in sorted(outputs)],
                feed_list=[tensors[key] for key in sorted(tensors)],
                accept_options=True,
            ),
        )


def _session_config() -> tf.compat.v1.ConfigProto:
    # While versions change there are two: on a device with memory of its own, none takes all.
    return tf.compat.v1.ConfigProto(
        allow_soft_placement=True, gpu_options=tf.compat.v1.GPUOptions(allow_growth=True)
    )


def _names(names) -> str:
    return ", ".join(f"`{name[:100]}`" for name in sorted(names)) or "nothing"


def _shape_text(shape: tf.TensorShape) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
