"""Three ways in which others load an exported model and call its signatures.

    call = LOADERS["session"](model_dir)
    outputs = call("serving_default", {"anchors": anchors, "style": style})

Each loader gives a function from a signature's name and its inputs, NumPy arrays by name, to its
outputs. What a signature refuses raises tf.errors.InvalidArgumentError whichever way it is called.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

Arrays = Mapping[str, np.ndarray]
Call = Callable[[str, Arrays], dict[str, np.ndarray]]

_TAG = "serve"


def load_python(model_dir: str) -> Call:
    """As Python programs do: tf.saved_model.load."""
    model = tf.saved_model.load(model_dir)

    def call(signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        outputs = model.signatures[signature](**tensors)
        return {name: value.numpy() for name, value in outputs.items()}

    return call


def load_session(model_dir: str) -> Call:
    """By the session loader of TensorFlow 1: signatures are names of tensors to feed and fetch."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        signatures = tf.compat.v1.saved_model.load(session, [_TAG], model_dir).signature_def

    def call(signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        definition = signatures[signature]
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: info.name for name, info in definition.outputs.items()}
        return session.run(fetches, feeds)

    return call


def load_c(model_dir: str) -> Call:
    """Through TensorFlow's C API, which TensorFlow Serving's loader and other languages share."""
    return _CSession(model_dir).call


LOADERS = {"saved_model.load": load_python, "session": load_session, "C API": load_c}


class _Output(ctypes.Structure):
    """TF_Output: one output of an operation."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    """TensorFlow's own library; functions give pointers unless said otherwise."""
    library = ctypes.CDLL(os.path.join(tf.sysconfig.get_lib(), "libtensorflow_cc.so.2"))
    pointers = """TF_NewStatus TF_NewGraph TF_NewSessionOptions TF_LoadSessionFromSavedModel
        TF_NewBuffer TF_GraphOperationByName TF_AllocateTensor TF_TensorData
        TF_StringGetDataPointer"""
    for name in pointers.split():
        getattr(library, name).restype = ctypes.c_void_p
    for name in ("TF_TensorByteSize", "TF_StringGetSize"):
        getattr(library, name).restype = ctypes.c_size_t
    library.TF_Message.restype = ctypes.c_char_p
    library.TF_Dim.restype = ctypes.c_int64
    return library


@contextlib.contextmanager
def _status() -> Iterator[ctypes.c_void_p]:
    """A TF_Status; what it holds afterwards is raised."""
    library = _library()
    status = ctypes.c_void_p(library.TF_NewStatus())
    try:
        yield status
        code, message = library.TF_GetCode(status), library.TF_Message(status).decode()
    finally:
        library.TF_DeleteStatus(status)
    if code:
        raise tf.compat.v1.errors.exception_type_from_error_code(code)(None, None, message)


class _CSession:
    """A session of the C API; it lives as long as the process."""

    def __init__(self, model_dir: str):
        library = _library()
        self._graph = ctypes.c_void_p(library.TF_NewGraph())
        meta_graph = ctypes.cast(library.TF_NewBuffer(), ctypes.POINTER(_Buffer))
        options = ctypes.c_void_p(library.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(_TAG.encode())
        path = os.fsencode(model_dir)
        with _status() as status:
            self._session = ctypes.c_void_p(
                library.TF_LoadSessionFromSavedModel(
                    options, None, path, tags, len(tags), self._graph, meta_graph, status
                )
            )
        content = ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length)
        self._signatures = meta_graph_pb2.MetaGraphDef.FromString(content).signature_def

    def call(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        library, definition = _library(), self._signatures[signature]
        feeds = [self._output(definition.inputs[name].name) for name in inputs]
        fetches = [self._output(info.name) for info in definition.outputs.values()]
        fed = [_new_tensor(np.asarray(value)) for value in inputs.values()]
        fetched = (ctypes.c_void_p * len(fetches))()
        try:
            with _status() as status:
                library.TF_SessionRun(
                    self._session,
                    None,
                    (_Output * len(feeds))(*feeds),
                    (ctypes.c_void_p * len(fed))(*fed),
                    len(fed),
                    (_Output * len(fetches))(*fetches),
                    fetched,
                    len(fetches),
                    None,
                    0,
                    None,
                    status,
                )
            return {
                name: _array_of(ctypes.c_void_p(tensor))
                for name, tensor in zip(definition.outputs, fetched, strict=True)
            }
        finally:
            for tensor in (*fed, *filter(None, fetched)):
                library.TF_DeleteTensor(ctypes.c_void_p(tensor))

    def _output(self, tensor_name: str) -> _Output:
        """The output that `operation:index` names."""
        name, _, index = tensor_name.partition(":")
        operation = _library().TF_GraphOperationByName(self._graph, name.encode())
        return _Output(operation, int(index))


def _new_tensor(array: np.ndarray) -> int:
    """A tensor of numbers; whoever asks for it deletes it."""
    library, array = _library(), np.ascontiguousarray(array).reshape(np.shape(array))
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    dtype = tf.as_dtype(array.dtype).as_datatype_enum
    n_bytes = ctypes.c_size_t(array.nbytes)
    tensor = library.TF_AllocateTensor(dtype, shape, array.ndim, n_bytes)
    data = library.TF_TensorData(ctypes.c_void_p(tensor))
    ctypes.memmove(data, array.ctypes.data, array.nbytes)
    return tensor


def _array_of(tensor: ctypes.c_void_p) -> np.ndarray:
    """A copy of a tensor: numbers, or an object array of bytes."""
    library = _library()
    shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
    dtype = tf.as_dtype(library.TF_TensorType(tensor))
    n_bytes, data = library.TF_TensorByteSize(tensor), library.TF_TensorData(tensor)
    if dtype != tf.string:
        content = ctypes.string_at(data, n_bytes)
        return np.frombuffer(content, dtype.as_numpy_dtype).reshape(shape)
    array = np.empty(shape, object)
    for index in range(array.size):
        # One TF_TString after another.
        string = ctypes.c_void_p(data + index * (n_bytes // array.size))
        size = library.TF_StringGetSize(string)
        array.flat[index] = ctypes.string_at(library.TF_StringGetDataPointer(string), size)
    return array
