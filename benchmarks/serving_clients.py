"""The clients of benchmarks/serving.py: threads that ask one server again and again."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.2
# Each client asks for these in turn: often enough the same for answers to be compared.
_SEEDS = range(4)
# A piece of the streaming clients, which open a connection for each.
_WINDOWS_PER_PIECE = 4
_RETRY_SECONDS = 0.2
_CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1)]
_FIRST_AUDIO = "stream: first audio"


class RefusedError(Exception):
    """The server has too much to do."""


class Tally:
    """What all clients saw."""

    def __init__(self):
        self._lock = threading.Lock()
        self._answers: dict[str, str] = {}
        self.latencies_seconds = collections.defaultdict(list)
        self.n_refused = collections.Counter()
        self.n_failed = collections.Counter()
        self.failures: list[str] = []

    def add(self, kind: str, seconds: float) -> None:
        with self._lock:
            self.latencies_seconds[kind].append(seconds)

    def refuse(self, kind: str) -> None:
        with self._lock:
            self.n_refused[kind] += 1

    def fail(self, kind: str, problem: object) -> None:
        with self._lock:
            self.n_failed[kind] += 1
            self.failures.append(f"{time.strftime('%H:%M:%S')} {kind}: {problem}")

    def compare(self, request: str, answer: bytes) -> None:
        """Raises ValueError if the same request was answered otherwise before."""
        digest = hashlib.sha256(answer).hexdigest()
        with self._lock:
            if self._answers.setdefault(request, digest) != digest:
                raise ValueError(f"{request} was answered otherwise before")


@dataclasses.dataclass(frozen=True)
class Model:
    """Good requests to a model.

    Attributes:
      metadata: its metadata.json.
      wav_seconds: length of the music that `generate_wav` is asked for.
      name: under which it is served.
    """

    metadata: dict
    wav_seconds: float
    name: str = "musika"

    def signals(self) -> dict[str, float]:
        """What a conditional model is asked for: the middle of each range."""
        controls = self.metadata["controls"]
        return {c["name"]: (c["minimum"] + c["maximum"]) / 2 for c in controls}

    def wav_request(self, seed: int) -> dict:
        row = {"seed": [seed, 0], "seconds": self.wav_seconds, "truncation": 2.0, **self.signals()}
        return {"signature_name": "generate_wav", "instances": [row]}

    def request(self, signature: str, **inputs: np.ndarray) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.name, signature
        for name, value in inputs.items():
            dtype = self.metadata["signatures"][signature]["inputs"][name]["dtype"]
            request.inputs[name].CopyFrom(tf.make_tensor_proto(np.asarray(value, dtype)))
        return request

    def sizes(self, signature: str, name: str) -> list:
        return self.metadata["signatures"][signature]["inputs"][name]["shape"]

    def waveform_request(self, seed: int) -> predict_pb2.PredictRequest:
        rng = np.random.default_rng(seed)
        n_steps = self.metadata["n_latents_per_anchor"]
        return self.request(
            "serving_default",
            anchors=rng.normal(size=[1, 2, self.sizes("serving_default", "anchors")[-1]]),
            style=rng.normal(size=[1, self.sizes("serving_default", "style")[-1]]),
            **self.conditioning(n_steps),
        )

    def window_requests(self, seed: int) -> Iterator[predict_pb2.PredictRequest]:
        """Requests for the latents of one window after the other, two from anchor to anchor."""
        rng, n_latents = np.random.default_rng(seed), self.metadata["n_latents_per_anchor"] // 2
        n_steps = n_latents + 2 * self.metadata["context_n_latents"]
        style = np.tile(rng.normal(size=self.sizes("latents", "style")[-1]), [1, n_steps, 1])
        depth = self.sizes("latents", "coordinates")[-1]
        for start in itertools.count(step=n_latents):
            coordinates = np.linspace(*rng.normal(size=[2, 1, depth]), n_steps, axis=1)
            steps = {"coordinates": coordinates, "style": style, **self.conditioning(n_steps)}
            yield self.request("latents", start=[start], **steps)

    @property
    def excerpt_n_latents(self) -> int:
        """The fewest latents that `decode` takes."""
        return round(self.metadata["seconds_per_excerpt"] / self.metadata["seconds_per_latent"])

    def conditioning(self, n_steps: int) -> dict[str, np.ndarray]:
        signals = self.metadata["signals"]
        middles = [(signal["minimum"] + signal["maximum"]) / 2 for signal in signals]
        return {"conditioning": np.tile(middles, [1, n_steps, 1])} if middles else {}


class Soak:
    """One server and its clients."""

    def __init__(self, model: Model, rest_url: str, grpc_address: str):
        self.model = model
        self.url = f"{rest_url}/v1/models/{model.name}"
        self.grpc_address = grpc_address
        self.tally = Tally()
        self.over = threading.Event()

    def clients(self) -> list[Callable[[], None]]:
        """The eight; without `generate_wav` the model is asked for the rest only."""
        asks_for_wav = "generate_wav" in self.model.metadata["signatures"]
        whole = [self.rest_wav if asks_for_wav else self.grpc_waveform] * 2
        whole += [self.grpc_waveform] * 2
        return [*whole, self.stream, self.stream, self.rest_polls, self.grpc_polls]

    def timed(self, kind: str, call: Callable):
        """The answer to a call, tried again while the server refuses; None if there is none."""
        while True:
            started = time.perf_counter()
            try:
                answer = call()
            except RefusedError:
                self.tally.refuse(kind)
                if self.over.wait(_RETRY_SECONDS):
                    return None
                continue
            except (grpc.RpcError, requests.RequestException, ValueError, KeyError) as error:
                self.tally.fail(kind, error)
                time.sleep(_RETRY_SECONDS)
                return None
            self.tally.add(kind, time.perf_counter() - started)
            return answer

    def rest_wav(self) -> None:
        with requests.Session() as session:
            for seed in self._seeds():
                self.timed("REST generate_wav", lambda s=seed: self._rest_wav(session, s))

    def _rest_wav(self, session: requests.Session, seed: int) -> None:
        response = session.post(
            f"{self.url}:predict", json=self.model.wav_request(seed), timeout=TIMEOUT_SECONDS
        )
        (prediction,) = _checked(response).json()["predictions"]
        self.tally.compare(f"generate_wav {seed}", prediction["b64"].encode())

    def grpc_waveform(self) -> None:
        requests_ = {seed: self.model.waveform_request(seed) for seed in _SEEDS}
        with grpc.insecure_channel(self.grpc_address, _CHANNEL_OPTIONS) as channel:
            for seed in self._seeds():
                self._predict("gRPC serving_default", channel, requests_[seed], f"waveform {seed}")

    def _predict(self, kind: str, channel: grpc.Channel, request, what: str):
        """The outputs by name; None if there is no answer."""
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def call():
            outputs = _answer(stub.Predict, request).outputs
            for name in sorted(outputs):
                self.tally.compare(f"{kind} {what} {name}", outputs[name].SerializeToString())
            return outputs

        return self.timed(kind, call)

    def stream(self) -> None:
        for seed in self._seeds():
            with grpc.insecure_channel(self.grpc_address, _CHANNEL_OPTIONS) as channel:
                self._stream_piece(channel, seed)

    def _stream_piece(self, channel: grpc.Channel, seed: int) -> None:
        started, is_heard = time.perf_counter(), False
        overlap = np.zeros([1, *self.model.sizes("decode", "overlap")[1:]], np.float32)
        windows = itertools.islice(self.model.window_requests(seed), _WINDOWS_PER_PIECE)
        for index, request in enumerate(windows):
            what = f"piece {seed} window {index}"
            latents = self._predict("gRPC latents", channel, request, what)
            if latents is None or self.over.is_set():
                return
            latents = tf.make_ndarray(latents["latents"])
            # The shortest part that can be decoded first, so that the music begins at once.
            first = self.model.excerpt_n_latents if index == 0 else 0
            for part in filter(np.size, (latents[:, :first], latents[:, first:])):
                request = self.model.request("decode", latents=part, overlap=overlap)
                name = f"{what} of {part.shape[1]}"
                decoded = self._predict("gRPC decode", channel, request, name)
                if decoded is None or self.over.is_set():
                    return
                overlap = tf.make_ndarray(decoded["overlap"])
                if not is_heard:
                    self.tally.add(_FIRST_AUDIO, time.perf_counter() - started)
                    is_heard = True

    def rest_polls(self) -> None:
        with requests.Session() as session:
            get = lambda url: _checked(session.get(url, timeout=TIMEOUT_SECONDS))  # noqa: E731
            while not self.over.wait(POLL_SECONDS):
                self.timed("REST status", lambda: get(self.url))
                self.timed("REST metadata", lambda: get(f"{self.url}/metadata"))

    def grpc_polls(self) -> None:
        status, metadata = (
            get_model_status_pb2.GetModelStatusRequest(),
            get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]),
        )
        status.model_spec.name = metadata.model_spec.name = self.model.name
        with grpc.insecure_channel(self.grpc_address, _CHANNEL_OPTIONS) as channel:
            models = model_service_pb2_grpc.ModelServiceStub(channel)
            predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self.over.wait(POLL_SECONDS):
                self.timed("gRPC status", lambda: _answer(models.GetModelStatus, status))
                self.timed("gRPC metadata", lambda: _answer(predictions.GetModelMetadata, metadata))

    def _seeds(self) -> Iterator[int]:
        return itertools.takewhile(lambda _: not self.over.is_set(), itertools.cycle(_SEEDS))

    def is_available(self, version: int) -> bool:
        response = requests.get(self.url, timeout=TIMEOUT_SECONDS)
        states = _checked(response).json()["model_version_status"]
        return any(s["version"] == str(version) and s["state"] == "AVAILABLE" for s in states)


def _checked(response: requests.Response) -> requests.Response:
    if response.status_code in (429, 503):
        raise RefusedError
    if not response.ok:
        raise ValueError(f"HTTP status {response.status_code}: {response.text[:500]}")
    return response


def _answer(method: Callable, request):
    try:
        return method(request, timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        # UNAVAILABLE is a connection that was lost too: no refusal, but a failure.
        if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise RefusedError from error
        raise
