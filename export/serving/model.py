"""One loaded version of a model: its signatures and their calls.

Versions are loaded by the session loader, which is TensorFlow Serving's too. Measured over twenty
loads of a model of 2 MB: `tf.saved_model.load` kept 33 MB of each for ever, a session nothing.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from export.serving import errors

_INIT_SIGNATURE = "__saved_model_init_op"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry point of a loaded version.

    Attributes:
      name: under which clients ask for it.
      inputs: by name; of each array the dtype must be exactly this one, nothing is cast.
      outputs: names.
    """

    name: str
    inputs: Mapping[str, tf.TensorSpec]
    outputs: tuple[str, ...]
    _function: Callable[..., list[np.ndarray]] = dataclasses.field(repr=False)

    def __call__(
        self, arrays: Mapping[str, np.ndarray], timeout_seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        """Runs the signature.

        Args:
          arrays: exactly the inputs, each of its dtype and shape.
          timeout_seconds: after which TensorFlow gives up, between two operations; None for never.

        Returns:
          The outputs by name; strings as arrays of bytes objects.

        Raises:
          ServingError: the model refused an input, or it took too long.
        """
        # 0 would be no limit.
        milliseconds = 0 if timeout_seconds is None else max(1, int(timeout_seconds * 1000))
        options = tf.compat.v1.RunOptions(timeout_in_ms=milliseconds)
        try:
            values = self._function(*(arrays[name] for name in self.inputs), options=options)
        except tf.errors.OpError as error:
            raise errors.from_tensorflow(error) from None
        return dict(zip(self.outputs, map(np.asarray, values), strict=True))

    def check_names(self, given: Mapping[str, object]) -> None:
        """Raises ServingError unless exactly the inputs are given."""
        takes = f"signature {self.name!r} takes {quoted(self.inputs)}"
        if missing := self.inputs.keys() - given.keys():
            raise errors.invalid(f"{quoted(missing)} missing: {takes}")
        if unknown := given.keys() - self.inputs.keys():
            raise errors.invalid(f"unknown input {quoted(unknown)}: {takes}")


class Model:
    """A version, from a folder named by its number, in memory, which it leaves with the last
    reference to this object.

    Attributes:
      version: its number.
      definition: its signatures, as it was saved with them.

    Raises:
      OSError, ValueError, tf.errors.OpError, ...: whatever is wrong with the files.
    """

    def __init__(self, path: pathlib.Path):
        self.version = int(path.name)
        # While versions change there are two: on a device with memory of its own, none takes all.
        config = tf.compat.v1.ConfigProto(
            allow_soft_placement=True, gpu_options=tf.compat.v1.GPUOptions(allow_growth=True)
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with self._session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(
                self._session, [tf.saved_model.SERVING], str(path)
            )
        self.definition: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._signatures = {
            name: self._signature(name, definition)
            for name, definition in self.definition.items()
            if name != _INIT_SIGNATURE
        }

    def signature(self, name: str) -> Signature:
        """The signature of a name, the default one for an empty name.

        Raises:
          ServingError: there is none.
        """
        name = name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if name not in self._signatures:
            raise errors.invalid(
                f"unknown signature {name[:100]!r}: version {self.version} has "
                + quoted(self._signatures)
            )
        return self._signatures[name]

    def _signature(self, name: str, definition: meta_graph_pb2.SignatureDef) -> Signature:
        tensor = self._session.graph.get_tensor_by_name
        inputs = {key: tensor(info.name) for key, info in sorted(definition.inputs.items())}
        outputs = {key: tensor(info.name) for key, info in sorted(definition.outputs.items())}
        return Signature(
            name,
            {key: tf.TensorSpec(t.shape, t.dtype, key) for key, t in inputs.items()},
            tuple(outputs),
            self._session.make_callable(
                list(outputs.values()), feed_list=list(inputs.values()), accept_options=True
            ),
        )


def check_shape(spec: tf.TensorSpec, shape: Sequence[int]) -> None:
    """Raises ServingError if an input cannot have this shape."""
    if not spec.shape.is_compatible_with(shape):
        wanted = ", ".join("?" if size is None else str(size) for size in spec.shape)
        raise errors.invalid(f"`{spec.name}` must have shape [{wanted}], not {list(shape)}")


def quoted(names: Iterable[str]) -> str:
    """Names as messages show them."""
    return ", ".join(f"`{name[:100]}`" for name in sorted(names)) or "nothing"
