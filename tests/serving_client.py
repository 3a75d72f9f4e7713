"""A server, and what tests say to it: REST by requests, gRPC by TensorFlow Serving's own stubs."""

from __future__ import annotations

import grpc
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from export.serving.server import Server
from export.serving.settings import Settings

TIMEOUT_SECONDS = 60


def new_server(model_dir, **settings) -> Server:
    """On free ports; it runs inside of a `with`."""
    return Server(Settings(str(model_dir), rest_port=0, grpc_port=0, **settings))


class Rest:
    """A session with one server."""

    def __init__(self, port, name="musika"):
        self.port = port
        self.root = f"http://127.0.0.1:{port}"
        self._url = f"{self.root}/v1/models/{name}"
        self._session = requests.Session()

    def predict(self, body, version=None):
        """Posts JSON, or bytes (an iterator of them) as they are."""
        where = "" if version is None else f"/versions/{version}"
        how = {"json": body} if isinstance(body, dict) else {"data": body}
        return self._session.post(f"{self._url}{where}:predict", **how, timeout=TIMEOUT_SECONDS)

    def get(self, path="", root=None):
        return self._session.get((root or self._url) + path, timeout=TIMEOUT_SECONDS)

    def page(self, path):
        return self.get(path, self.root)


def channel(port):
    return grpc.insecure_channel(
        f"127.0.0.1:{port}",
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )


def prediction_stub(port):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel(port))


def predict_request(inputs, signature_name="", name="musika"):
    """Inputs as TensorFlow guesses them, or as TensorProto."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature_name
    for key, value in inputs.items():
        is_proto = hasattr(value, "tensor_shape")
        request.inputs[key].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
    return request


def slow(n):
    """What asks toy_model.py for so many slow steps."""
    return {"signature_name": "slow", "inputs": [n]}


def n_steps_of_a_second(rest):
    """As many of them as take about a second."""
    n, seconds = 20_000, 0.0
    while seconds < 0.2:
        n *= 2
        seconds = rest.predict(slow(n)).elapsed.total_seconds()
    return int(n / seconds)
