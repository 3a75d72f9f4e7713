"""Music without end, patch after patch in constant memory, to a file or the speakers.

    python stream_endless.py --model=models/piano/1 --speakers
    python stream_endless.py --model=models/piano/1 --server=127.0.0.1:8500 --out=music.wav
    python stream_endless.py --model=models/techno_tempo/1 --condition=tempo_bpm=random_walk \
        --out=music.wav

Ctrl-C ends it; the file is valid at any time. `latents` makes the latents of one patch (11.9 s),
`decode` the waveform; the overlap that decoding leaves goes into the next patch, so no seam is
heard. With --server the networks run in a model server, of --model only metadata.json is read.
"""

import argparse
import concurrent.futures
import itertools
import json
import math
import pathlib
import signal
import statistics
import sys
import wave

import numpy as np
import tensorflow as tf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="Folder of a version.")
    parser.add_argument("--server", metavar="HOST:PORT", help="Model server to call over gRPC.")
    parser.add_argument("--model_name", default="musika", help="Of the model on the server.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truncation", type=float, default=2.0, help="Smaller is more stable.")
    parser.add_argument("--seconds", type=float, default=math.inf, help="Where to end.")
    parser.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="Of a signal of a conditional model a number or random_walk; once for each of them.",
    )
    out = parser.add_mutually_exclusive_group(required=True)
    out.add_argument("--out", help="WAV file to write.")
    out.add_argument("--speakers", action="store_true")
    flags = parser.parse_args()

    metadata = json.loads((flags.model / "metadata.json").read_text(encoding="utf-8"))
    controls = dict(word.partition("=")[::2] for word in flags.condition)
    inputs = conditioning(metadata, controls, np.random.default_rng([flags.seed, 1]))
    call = over_grpc(flags.server, flags.model_name) if flags.server else in_process(flags.model)
    patches = stream(call, metadata["signatures"], flags.seed, flags.truncation, inputs)
    patches = until(patches, flags.seconds * metadata["sample_rate_hz"])
    if flags.speakers:
        play(patches, metadata["sample_rate_hz"])
    else:
        write_wav(flags.out, patches, metadata["sample_rate_hz"])


def in_process(version_dir: pathlib.Path):
    """call(signature, **inputs) → outputs, by TensorFlow here."""
    model = tf.saved_model.load(str(version_dir))

    def call(signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        outputs = model.signatures[signature](**tensors)
        return {name: value.numpy() for name, value in outputs.items()}

    return call


def over_grpc(server: str, model_name: str):
    """The same by a model server; a patch fits in gRPC's usual 4 MiB up to 44.1 kHz."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    channel = grpc.insecure_channel(server, [("grpc.max_receive_message_length", 16 * 2**20)])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def call(signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model_name, signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            outputs = stub.Predict(request, timeout=60.0).outputs
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")
        return {name: tf.make_ndarray(value) for name, value in outputs.items()}

    return call


def stream(call, signatures: dict, seed: int, truncation: float, conditioning):
    """Yields the waveform patch after patch, float32 [n, 2] in [-1, 1]."""
    inputs = signatures["latents"]["inputs"]
    _, seq_len, depth = inputs["coordinates"]["shape"]
    overlap = np.zeros([1, *signatures["decode"]["inputs"]["overlap"]["shape"][1:]], np.float32)
    rng = np.random.default_rng(seed)
    style = truncated_normal(rng, [1, inputs["style"]["shape"][-1]], truncation)
    anchor = truncated_normal(rng, [depth], truncation)
    # Position between two anchors: 0 included, 1 not, since that is the next anchor.
    k = np.arange(2 * seq_len, dtype=np.float32)[:, np.newaxis] / (2 * seq_len)
    while True:
        next_anchor = truncated_normal(rng, [depth], truncation)
        line = (1 - k) * anchor + k * next_anchor  # two patches long
        for coordinates in np.split(line, 2):
            latents = call(
                "latents", coordinates=coordinates[None], style=style, **next(conditioning)
            )
            outputs = call("decode", latents=latents["latents"], overlap=overlap)
            overlap = outputs["overlap"]
            yield outputs["waveform"][0]
        anchor = next_anchor


def truncated_normal(rng, shape, truncation) -> np.ndarray:
    """Standard normal draws cut at ±truncation, by the inverse of the distribution function."""
    normal = statistics.NormalDist()
    uniform = rng.uniform(normal.cdf(-truncation), normal.cdf(truncation), shape)
    return np.vectorize(normal.inv_cdf)(uniform).astype(np.float32)


def conditioning(metadata: dict, controls: dict[str, str], rng):
    """Yields the input `conditioning` of each patch, by its name; nothing if there is none."""
    signals = metadata.get("signals", [])
    if set(controls) != {signal["name"] for signal in signals}:
        ranges = [f"{s['name']} ({s['minimum']} to {s['maximum']})" for s in signals]
        sys.exit(f"--condition must tell this model {', '.join(ranges) or 'nothing'}")
    if not signals:
        return itertools.repeat({})
    n_steps = metadata["signatures"]["latents"]["inputs"]["coordinates"]["shape"][1]
    columns = [values(controls[signal["name"]], signal, n_steps, rng) for signal in signals]
    blocks = (np.stack(block, axis=-1) for block in zip(*columns, strict=True))
    return ({"conditioning": block[None].astype(np.float32)} for block in blocks)


def values(text: str, signal: dict, n_steps: int, rng):
    """Yields one signal patch after patch: a constant, or a slow walk between its limits."""
    low, width = signal["minimum"], signal["maximum"] - signal["minimum"]
    if text != "random_walk":
        yield from itertools.repeat(np.full(n_steps, float(text)))
    position = rng.uniform(0.0, width)
    while True:
        path = position + np.cumsum(rng.normal(0.0, 0.03 * width, n_steps))
        position = path[-1]
        yield low + width - np.abs(path % (2.0 * width) - width)  # reflected at both ends


def until(patches, n_samples: float):
    """The first n_samples of the stream."""
    for patch in patches:
        yield patch[: int(min(n_samples, len(patch)))]
        n_samples -= len(patch)
        if n_samples <= 0:
            return


def write_wav(path: str, patches, rate_hz: int) -> None:
    """Writes 16-bit stereo until the stream ends, Ctrl-C, or the 4 GiB that a WAV file can hold."""
    stopped = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(True))  # the patch in work is finished
    with wave.open(path, "wb") as file:
        file.setparams((2, 2, rate_hz, 0, "NONE", ""))
        for patch in patches:
            if 4 * (file.tell() + len(patch)) > 2**32 - 64:
                break
            file.writeframes(to_int16(patch).tobytes())  # and says in the header how long it is
            if stopped:
                break
        print(f"{path}: {file.tell() / rate_hz:.1f} s")


def play(patches, rate_hz: int) -> None:
    """Plays each patch while the next one is computed."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the library PortAudio is missing
        sys.exit(f"--speakers needs `pip install sounddevice` and PortAudio ({error})")
    device = sounddevice.OutputStream(rate_hz, channels=2, dtype="int16")
    with device, concurrent.futures.ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, patches, None)
        while (patch := coming.result()) is not None:
            coming = pool.submit(next, patches, None)
            for piece in np.array_split(patch, 50):  # short, so that Ctrl-C is heard at once
                device.write(to_int16(piece))


def to_int16(waveform: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
