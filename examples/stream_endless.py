"""Music without end, part after part in constant memory, to a file or the speakers.

    python stream_endless.py --model=models/techno/1 --condition=tempo_bpm=128 --speakers
    python stream_endless.py --model=models/techno/1 --condition=tempo_bpm=random_walk \
        --server=127.0.0.1:8500 --out=techno.wav

Ctrl-C ends it; the file is valid at any time. `latents` makes the latents of a window (11.9 s) and
reads as much around it as it needs, `decode` makes the waveform; the overlap that decoding leaves
goes into the next part, so no seam is heard. With --server the networks run in a model server, of
--model only metadata.json is read.
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
        help="Of what a conditional model follows a number or random_walk; once for each of them.",
    )
    out = parser.add_mutually_exclusive_group(required=True)
    out.add_argument("--out", help="WAV file to write.")
    out.add_argument("--speakers", action="store_true")
    flags = parser.parse_args()

    metadata = json.loads((flags.model / "metadata.json").read_text(encoding="utf-8"))
    controls = dict(word.partition("=")[::2] for word in flags.condition)
    steps = along_time(metadata, flags.seed, flags.truncation, controls)
    call = over_grpc(flags.server, flags.model_name) if flags.server else in_process(flags.model)
    parts = stream(call, metadata, steps)
    parts = until(parts, flags.seconds * metadata["sample_rate_hz"])
    if flags.speakers:
        play(parts, metadata["sample_rate_hz"])
    else:
        write_wav(flags.out, parts, metadata["sample_rate_hz"])


def in_process(version_dir: pathlib.Path):
    """call(signature, **inputs) → outputs, by TensorFlow here."""
    model = tf.saved_model.load(str(version_dir))

    def call(signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        outputs = model.signatures[signature](**tensors)
        return {name: value.numpy() for name, value in outputs.items()}

    return call


def over_grpc(server: str, model_name: str):
    """The same by a model server; a part fits in gRPC's usual 4 MiB up to 44.1 kHz."""
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


def stream(call, metadata: dict, blocks):
    """Yields the waveform part after part, float32 [n, 2] in [-1, 1]."""
    context, n_latents = metadata["context_n_latents"], metadata["n_latents_per_anchor"] // 2
    overlap_shape = metadata["signatures"]["decode"]["inputs"]["overlap"]["shape"]
    overlap, steps = np.zeros([1, *overlap_shape[1:]], np.float32), next(blocks)
    for start in itertools.count(step=n_latents):
        while len(steps["coordinates"]) < n_latents + 2 * context:
            more = next(blocks)
            steps = {name: np.concatenate([steps[name], more[name]]) for name in steps}
        window = {name: value[None, : n_latents + 2 * context] for name, value in steps.items()}
        latents = call("latents", start=np.array([start], np.int32), **window)["latents"]
        outputs = call("decode", latents=latents, overlap=overlap)
        overlap = outputs["overlap"]
        yield outputs["waveform"][0]
        steps = {name: value[n_latents:] for name, value in steps.items()}


def along_time(metadata: dict, seed: int, truncation: float, controls: dict[str, str]):
    """Yields what `latents` takes at each step, block after block, [n, …] each.

    The first block is what lies before the piece: the generator looks there too.
    """
    inputs = metadata["signatures"]["latents"]["inputs"]
    rng, walk_rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    columns = conditioning(metadata, controls, walk_rng)
    style = truncated_normal(rng, [1, inputs["style"]["shape"][-1]], truncation)
    n_before, n_between = metadata["context_n_latents"], metadata["n_latents_per_anchor"]

    def block(line):
        steps = {"coordinates": line, "style": np.repeat(style, len(line), axis=0)}
        if columns:
            values = [list(itertools.islice(column, len(line))) for column in columns]
            steps["conditioning"] = np.array(values, np.float32).T
        return steps

    anchor = truncated_normal(rng, [1, inputs["coordinates"]["shape"][-1]], truncation)
    yield block(np.repeat(anchor, n_before, axis=0))
    # Position between two anchors: 0 included, 1 not, since that is the next anchor.
    k = np.arange(n_between, dtype=np.float32)[:, np.newaxis] / n_between
    while True:
        next_anchor = truncated_normal(rng, anchor.shape, truncation)
        yield block((1 - k) * anchor + k * next_anchor)
        anchor = next_anchor


def truncated_normal(rng, shape, truncation) -> np.ndarray:
    """Standard normal draws cut at ±truncation, by the inverse of the distribution function."""
    normal = statistics.NormalDist()
    uniform = rng.uniform(normal.cdf(-truncation), normal.cdf(truncation), shape)
    return np.vectorize(normal.inv_cdf)(uniform).astype(np.float32)


def conditioning(metadata: dict, controls: dict[str, str], rng) -> list:
    """For each signal of the model an iterator over its values, a step each, from before the
    piece on."""
    n_before, asked = metadata["context_n_latents"], metadata["controls"]
    if set(controls) != {control["name"] for control in asked}:
        ranges = [f"{c['name']} ({c['minimum']} to {c['maximum']})" for c in asked]
        sys.exit(f"--condition must tell this model {', '.join(ranges) or 'nothing'}")
    columns = [values(controls[control["name"]], control, n_before, rng) for control in asked]
    minutes = metadata["seconds_per_latent"] / 60
    return [
        beats(column, minutes, n_before, signal["maximum"]) if signal["rate"] == "beats" else column
        for signal, column in zip(metadata["signals"], columns, strict=True)
    ]


def values(text: str, control: dict, n_before: int, rng):
    """A constant, or a slow walk between limits that begins with the piece."""
    if text != "random_walk":
        yield from itertools.repeat(float(text))
    low, width = control["minimum"], control["maximum"] - control["minimum"]
    position = rng.uniform(0.0, width)
    for step in itertools.count(-n_before):
        yield low + width - abs(position % (2.0 * width) - width)  # reflected at both ends
        position += rng.normal(0.0, 0.03 * width) if step >= 0 else 0.0


def beats(tempos, step_minutes: float, n_before: int, bar: float):
    """Position in the bar: the sum of a tempo in beats per minute, 0 where the piece begins."""
    position = None
    for tempo in tempos:
        position = -n_before * tempo * step_minutes if position is None else position
        yield position % bar
        position += tempo * step_minutes


def until(parts, n_samples: float):
    """The first n_samples of the stream."""
    for part in parts:
        yield part[: int(min(n_samples, len(part)))]
        n_samples -= len(part)
        if n_samples <= 0:
            return


def write_wav(path: str, parts, rate_hz: int) -> None:
    """Writes 16-bit stereo until the stream ends, Ctrl-C, or the 4 GiB that a WAV file can hold."""
    stopped = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(True))  # the part in work is finished
    with wave.open(path, "wb") as file:
        file.setparams((2, 2, rate_hz, 0, "NONE", ""))
        for part in parts:
            if 4 * (file.tell() + len(part)) > 2**32 - 64:
                break
            file.writeframes(to_int16(part).tobytes())  # and says in the header how long it is
            if stopped:
                break
        print(f"{path}: {file.tell() / rate_hz:.1f} s")


def play(parts, rate_hz: int) -> None:
    """Plays each part while the next one is computed."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the library PortAudio is missing
        sys.exit(f"--speakers needs `pip install sounddevice` and PortAudio ({error})")
    device = sounddevice.OutputStream(rate_hz, channels=2, dtype="int16")
    with device, concurrent.futures.ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            for piece in np.array_split(part, 50):  # short, so that Ctrl-C is heard at once
                device.write(to_int16(piece))


def to_int16(waveform: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(waveform * 32768), -32768, 32767).astype("<i2")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
