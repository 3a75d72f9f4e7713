"""What an exported model promises, checked through whatever way of calling it."""

from __future__ import annotations

import dataclasses
import io
import pathlib
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

Arrays = Mapping[str, np.ndarray]
Call = Callable[[str, Arrays], dict[str, np.ndarray]]
# Signature → its inputs and the outputs expected of it, both by name.
Cases = Mapping[str, tuple[Arrays, Arrays]]

# Largest difference that rounding in another order explains, full scale being 1: -86 dB. Making
# phases consistent enlarges it: loud music of the weights that ship comes to 1.6e-5 on some CPUs.
TOLERANCE = 5e-5
# Of 16-bit samples: such a difference may round to the next one.
_TOLERANCE_16_BIT = TOLERANCE + 2.0**-15

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"


@dataclasses.dataclass(frozen=True)
class Result:
    """One cell of the table.

    Attributes:
      check: what was checked.
      measured: what came out: a largest difference, or how many of how many.
      passed: whether that is good enough.
      problems: what failed, where that does not say it.
    """

    check: str
    measured: str
    passed: bool
    problems: tuple[str, ...] = ()


def run(call: Call, cases: Cases, metadata: Mapping, model_dir: str) -> Iterator[Result]:
    """All checks.

    Args:
      cases: valid inputs of every signature, two rows each, and what the live networks give.
      metadata: content of metadata.json.
      model_dir: the version, for its warm-up requests.
    """
    for signature, (inputs, expected) in cases.items():
        outputs = call(signature, inputs)
        yield _compared(f"{signature}, as the live networks", outputs, expected)
        again = call(signature, inputs)
        yield _compared(f"{signature}, again", again, outputs, tolerance=0.0)
        first_row = call(signature, {name: value[:1] for name, value in inputs.items()})
        in_batch = _first_rows(outputs, expected, first_row)
        yield _compared(f"{signature}, one row alone", first_row, in_batch)
    inputs, _ = cases["serving_default"]
    whole = call("serving_default", inputs)
    for n_excerpts in (1, 3):
        streamed = {"waveform": _streamed(call, inputs, metadata, n_excerpts)}
        yield _compared(f"streamed, {n_excerpts} excerpts at a time", streamed, whole)
    yield _refusals(call, cases, metadata)
    yield from _warmup(call, pathlib.Path(model_dir, WARMUP_FILE))


def _compared(check: str, outputs: Arrays, expected: Arrays, tolerance=None) -> Result:
    difference = largest_difference(outputs, expected)
    if tolerance is None:
        is_wav = any(array.dtype == object for array in expected.values())
        tolerance = _TOLERANCE_16_BIT if is_wav else TOLERANCE
    too_large = "" if difference <= tolerance else f" > {tolerance:g}"
    return Result(check, f"{difference:.1e}{too_large}", not too_large)


def largest_difference(outputs: Arrays, expected: Arrays) -> float:
    """Over all outputs; infinite if names or shapes differ, or anything is not a number."""
    if set(outputs) != set(expected):
        return np.inf
    differences = [0.0]
    for name, array in expected.items():
        if outputs[name].shape != array.shape:
            return np.inf
        for one, other in zip(_rows(outputs[name]), _rows(array), strict=True):
            if one.shape != other.shape:
                return np.inf
            differences.append(float(np.max(np.abs(one - other), initial=0.0)))
    return np.inf if np.isnan(differences).any() else max(differences)


def _rows(array: np.ndarray) -> Iterator[np.ndarray]:
    """Rows as numbers: of WAV files their samples, full scale being 1."""
    for row in array:
        if not isinstance(row, bytes):
            yield np.asarray(row)
            continue
        with wave.open(io.BytesIO(row)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            yield samples.reshape(-1, file.getnchannels()) / 2.0**15


def _first_rows(outputs: Arrays, expected: Arrays, alone: Arrays) -> dict[str, np.ndarray]:
    """First rows of a batch; a batch may be longer than its first row alone."""
    rows = {name: outputs[name][:1] for name in expected}
    return {
        name: row[:, : alone[name].shape[1]] if row.ndim > 1 else row for name, row in rows.items()
    }


# Streaming


def _streamed(call: Call, inputs: Arrays, metadata: Mapping, n_excerpts: int) -> np.ndarray:
    """The waveform of `serving_default` by way of `latents` and `decode`, chunk after chunk."""
    decode_inputs = metadata["signatures"]["decode"]["inputs"]
    step = n_excerpts * decode_inputs["latents"]["sizes"]["k"]["multiple_of"]
    overlap = np.zeros((len(inputs["style"]), *decode_inputs["overlap"]["shape"][1:]), np.float32)
    latents, chunks = _latents(call, inputs, metadata), []
    for start in range(0, latents.shape[1], step):
        outputs = call("decode", {"latents": latents[:, start : start + step], "overlap": overlap})
        chunks.append(outputs["waveform"])
        overlap = outputs["overlap"]
    return np.concatenate(chunks, axis=1)


def _latents(call: Call, inputs: Arrays, metadata: Mapping) -> np.ndarray:
    """Those of `serving_default`, by way of the shortest windows that `latents` takes."""
    along_time, context = _along_time(inputs, metadata), metadata["context_n_latents"]
    size = metadata["signatures"]["latents"]["inputs"]["coordinates"]["sizes"]["N"]["multiple_of"]
    n_rows, n_steps = along_time["coordinates"].shape[:2]
    found = []
    for start in range(0, n_steps - 2 * context, size):
        steps = slice(start, start + size + 2 * context)
        window = {name: value[:, steps] for name, value in along_time.items()}
        starts = np.full(n_rows, start, np.int32)
        found.append(call("latents", {**window, "start": starts})["latents"])
    return np.concatenate(found, axis=1)


def _along_time(inputs: Arrays, metadata: Mapping) -> dict[str, np.ndarray]:
    """What `latents` takes for a piece of `serving_default`, with the context around it."""
    context = metadata["context_n_latents"]
    line = _coordinates(inputs["anchors"], metadata["n_latents_per_anchor"])
    first, last = inputs["anchors"][:, :1], inputs["anchors"][:, -1:]
    line = np.concatenate([*[first] * context, line, *[last] * context], axis=1)
    found = {"coordinates": line, "style": np.repeat(inputs["style"][:, None], line.shape[1], 1)}
    if "conditioning" in inputs:
        found["conditioning"] = _with_ends(inputs["conditioning"], metadata["signals"], context)
    return found


def _with_ends(values: np.ndarray, signals: Sequence[Mapping], context: int) -> np.ndarray:
    """Values [B, n, C] with so many steps more at both ends: held, but clocks go on."""
    columns = []
    for signal, column in zip(signals, np.moveaxis(values.astype(np.float64), -1, 0), strict=True):
        held = np.pad(column, [(0, 0), (context, context)], "edge")
        if signal["rate"] == "beats":
            steps = np.arange(1, context + 1)
            held[:, :context] += steps[::-1] * (column[:, :1] - column[:, 1:2])
            held[:, -context:] += steps * (column[:, -1:] - column[:, -2:-1])
            held %= signal["maximum"]
        columns.append(held)
    return np.stack(columns, axis=-1).astype(np.float32)


def _coordinates(anchors: np.ndarray, steps_between: int) -> np.ndarray:
    """Straight lines between anchors [B, A, D], the last one left out: float32 [B, n, D]."""
    k = (np.arange(steps_between, dtype=np.float32) / steps_between)[:, np.newaxis]
    left, right = anchors[:, :-1, np.newaxis], anchors[:, 1:, np.newaxis]
    between = (1.0 - k) * left + k * right
    return between.reshape(len(anchors), -1, anchors.shape[-1]).astype(np.float32)


# Refusals


def _refusals(call: Call, cases: Cases, metadata: Mapping) -> Result:
    problems, n_tried = [], 0
    for signature, (inputs, _) in cases.items():
        described = metadata["signatures"][signature]["inputs"]
        for name, value in inputs.items():
            for what, bad in bad_values(value, described[name]):
                n_tried += 1
                problem = _problem(call, signature, {**inputs, name: bad}, name)
                if problem:
                    problems.append(f"{signature}, {name}, {what}: {problem}")
    measured = f"{n_tried - len(problems)} of {n_tried} refused"
    return Result("bad inputs, refused by name", measured, not problems, tuple(problems))


def _problem(call: Call, signature: str, inputs: Arrays, name: str) -> str:
    """What is wrong with the answer to bad inputs; nothing if they are refused by name."""
    try:
        call(signature, inputs)
    except tf.errors.InvalidArgumentError as error:
        return "" if f"`{name}`" in str(error) else str(error)
    return "accepted"


def bad_values(value: np.ndarray, described: Mapping) -> Iterator[tuple[str, np.ndarray]]:
    """Wrong values of one input, each with what is wrong with it.

    Args:
      value: a valid one.
      described: its entry in metadata.json.
    """
    yield "a dimension more", value[np.newaxis]
    yield "a dimension less", value[0]
    yield "no row", value[:0]
    if value.ndim > 1:
        yield "too wide", np.concatenate([value, value[..., :1]], axis=-1)
    if np.issubdtype(value.dtype, np.floating):
        yield "NaN", _with_first(value, np.nan)
        yield "infinite", _with_first(value, -np.inf)
    if "multiple_of" in described:
        yield "no multiple", value + 1
    for axis, size in enumerate(described["shape"]):
        limits = described.get("sizes", {}).get(size)
        if limits:
            n_rows = limits["maximum"] + limits["multiple_of"]
            yield f"{size} = {n_rows}", np.repeat(value.take([0], axis), n_rows, axis)
            n_rows = limits["minimum"] - 1
            yield f"{size} = {n_rows}", value.take(range(n_rows), axis)
    for interval in described.get("intervals", ()):
        beyond = interval["maximum"] + 1.0
        yield f"{beyond}", np.full_like(value, beyond)
        below = interval["minimum"] - (0.0 if interval["is_open"] else 1.0)
        yield f"{below}", np.full_like(value, below)


def _with_first(value: np.ndarray, first: float) -> np.ndarray:
    value = value.copy()
    value.flat[0] = first
    return value


# Warm-up


def _warmup(call: Call, path: pathlib.Path) -> Iterator[Result]:
    """Answers every warm-up request: one that fails keeps a server from loading the version."""
    if not path.exists():  # The exporter had no messages of TensorFlow Serving.
        return
    from tensorflow_serving.apis import prediction_log_pb2

    n_requests = 0
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        call(request.model_spec.signature_name, inputs)
        n_requests += 1
    yield Result("warm-up requests", f"{n_requests} answered", n_requests > 0)
