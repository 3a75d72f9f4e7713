"""Music from a model server over gRPC, with the stubs of the package tensorflow-serving-api.

    python grpc_client.py --metadata=models/techno/1/metadata.json --condition=tempo_bpm=128 \
        --seconds=30 --out=techno.wav

Calls `serving_default` with anchors and style drawn here. The model's metadata.json tells sizes,
rates and ranges: take it along to the machine of the client.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys
import wave

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# gRPC receives 4 MiB by default, 23.8 s of stereo at 22.05 kHz. -1 is no limit of the client's
# own; music without end comes in small messages instead, see stream_endless.py.
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--server", default="127.0.0.1:8500", metavar="HOST:PORT")
    parser.add_argument("--model_name", default="musika")
    parser.add_argument("--metadata", required=True, type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truncation", type=float, default=2.0, help="Smaller is more stable.")
    parser.add_argument(
        "--condition",
        type=name_and_value,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A value of what a conditional model follows; once for each of them.",
    )
    parser.add_argument("--timeout_seconds", type=float, default=60.0)
    parser.add_argument("--out", required=True, help="WAV file to write.")
    flags = parser.parse_args()

    metadata = json.loads(flags.metadata.read_text(encoding="utf-8"))
    request = predict_pb2.PredictRequest()
    request.model_spec.name = flags.model_name
    request.model_spec.signature_name = "serving_default"
    for name, value in make_inputs(metadata, flags).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    try:
        with grpc.insecure_channel(flags.server, options=CHANNEL_OPTIONS) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            response = stub.Predict(request, timeout=flags.timeout_seconds)
    except grpc.RpcError as error:  # of a bad input INVALID_ARGUMENT; the details name it
        sys.exit(f"{error.code().name}: {error.details()}")
    waveform = tf.make_ndarray(response.outputs["waveform"])[0]
    rate_hz = metadata["sample_rate_hz"]
    write_wav(flags.out, waveform[: round(flags.seconds * rate_hz)], rate_hz)


def name_and_value(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


def make_inputs(metadata: dict, flags: argparse.Namespace) -> dict[str, np.ndarray]:
    """One row: anchors, style and, for a conditional model, constant signals."""
    ports = metadata["signatures"]["serving_default"]["inputs"]
    # The music looks ahead: with what comes after it, it ends as if it went on.
    n_latents = math.ceil(flags.seconds / metadata["seconds_per_latent"])
    n_latents += metadata["context_n_latents"]
    n_between = max(1, math.ceil(n_latents / metadata["n_latents_per_anchor"]))
    rng = np.random.default_rng(flags.seed)
    inputs = {"style": truncated_normal(rng, [1, ports["style"]["shape"][-1]], flags.truncation)}
    shape = [1, n_between + 1, ports["anchors"]["shape"][-1]]
    inputs["anchors"] = truncated_normal(rng, shape, flags.truncation)
    names = [control["name"] for control in metadata["controls"]]
    constants = dict(flags.condition)
    if set(constants) != set(names):
        sys.exit(f"this model needs {names}, each with --condition=NAME=VALUE")
    if names:
        minutes = np.arange(n_between * metadata["n_latents_per_anchor"])
        minutes = minutes * metadata["seconds_per_latent"] / 60
        # Beats are what a tempo has counted; whole bars are taken away.
        columns = [
            constants[name] * minutes % signal["maximum"]
            if signal["rate"] == "beats"
            else constants[name] + 0 * minutes
            for signal, name in zip(metadata["signals"], names, strict=True)
        ]
        inputs["conditioning"] = np.float32(columns).T[np.newaxis]
    return inputs


def truncated_normal(rng, shape, truncation) -> np.ndarray:
    """Standard normal draws cut at ±truncation, by the inverse of the distribution function."""
    normal = statistics.NormalDist()
    uniform = rng.uniform(normal.cdf(-truncation), normal.cdf(truncation), shape)
    return np.vectorize(normal.inv_cdf)(uniform).astype(np.float32)


def write_wav(path: str, waveform: np.ndarray, rate_hz: int) -> None:
    """float32 [n, 2] in [-1, 1] → 16-bit stereo."""
    samples = np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2")
    with wave.open(path, "wb") as file:
        file.setparams((2, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


if __name__ == "__main__":
    main()
