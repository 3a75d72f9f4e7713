"""The networks as LiteRT (TensorFlow Lite) graphs: for browsers, phones, and Python without Keras.

    litert/generator.tflite   a window of the line → its latents
           decoder.tflite     the latents of an excerpt → its spectrum, both channels
           manifest.json      what metadata.json says, and shapes and units of the graphs

Both come from the Keras networks, with static shapes, in real arithmetic and with float16 weights,
which is what released weights are. What is no network stays outside, in a few lines of any
language: drawing a piece (`coordinates`), making phases consistent (`spectral.consistent`, once an
excerpt), the inverse STFT, and limiting the sum to [-1, 1]. An FFT costs there a quarter of what a
product with its matrix does in a graph. `examples/generate_with_litert.py` has them in NumPy.
"""

from __future__ import annotations

import collections
import copy
import hashlib
import json
import math
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from export.metadata import describe
from export.schema import Port, Signature
from musika_tf.conditioning import controls
from musika_tf.config import N_CHANNELS, Config
from musika_tf.networks import coordinates
from musika_tf.networks.autoencoder import split_channels
from musika_tf.networks.synthesizer import Synthesizer

# Beside saved_model.pb.
FOLDER = "litert"
MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT_VERSION = 1

# By what the graphs' waveform may differ from that of the networks.
MAX_DIFFERENCE_DB = -70.0

# Smaller constants are not worth an operation.
_LEAST_HALVED_BYTES = 1024


def graphs(synthesizer: Synthesizer) -> dict[str, Signature]:
    """The graphs of a model, by name."""
    return {"generator": _generator(synthesizer), "decoder": _decoder(synthesizer)}


def _generator(synthesizer: Synthesizer) -> Signature:
    config, gan = synthesizer.config, synthesizer.config.gan
    n_steps = gan.seq_len + 2 * gan.context_n_steps
    conditioning = {}
    if signals := config.conditioning.along_time:
        units = ", ".join(f"{signal.name} from {signal.range_text}" for signal in signals)
        conditioning["conditioning"] = Port((1, n_steps, len(signals)), f"a step: {units}")
    start = f"step of the first latent, a multiple of {gan.coarsest_n_steps}"
    return Signature(
        compute=lambda **inputs: {"latents": synthesizer.latents(**inputs)},
        inputs={
            "coordinates": Port((1, n_steps, gan.anchor_depth), "on the line between anchors"),
            "style": Port((1, n_steps, gan.style_depth), "standard normal, one a step"),
            "start": Port((1,), start, dtype=tf.int32),
            **conditioning,
        },
        outputs={
            "latents": Port(
                (1, gan.seq_len, config.stereo_latent_depth),
                f"in (-1, 1), of all steps but the first and last {gan.context_n_steps}",
            )
        },
    )


def _decoder(synthesizer: Synthesizer) -> Signature:
    config, autoencoder = synthesizer.config, synthesizer.autoencoder

    def compute(latents: tf.Tensor) -> dict[str, tf.Tensor]:
        mono = split_channels(latents)[0]
        log_magnitudes, directions = autoencoder.decode1(autoencoder.decode2(mono))
        real, imaginary = autoencoder.spectrum_as_decoded(log_magnitudes, directions)
        return {"real": real, "imaginary": imaginary}

    shape = (1, config.excerpt_n_latents, config.stereo_latent_depth)
    part = (N_CHANNELS, config.audio.excerpt_n_frames, config.audio.n_bins)
    return Signature(
        compute=compute,
        inputs={"latents": Port(shape, "of one excerpt, in (-1, 1)")},
        outputs={
            "real": Port(part, "part of the spectrum, left and right"),
            "imaginary": Port(part, "part of the spectrum, left and right"),
        },
    )


def save(synthesizer: Synthesizer, folder: pathlib.Path, training: Mapping[str, Any]) -> float:
    """Writes graphs and manifest to a new folder.

    Args:
      synthesizer: the model, in float32.
      training: see `describe`.

    Returns:
      By how much the graphs' waveform differs from the synthesizer's, in dB: by no more than
      `MAX_DIFFERENCE_DB` with weights that are float16 already, as released ones are.

    Raises:
      ValueError: it differs by more from that of the networks with their weights rounded.
    """
    folder.mkdir(parents=True)
    rounded = _rounded(synthesizer)
    found = graphs(rounded)
    for name, content in _converted(rounded, found).items():
        (folder / f"{name}.tflite").write_bytes(content)
    waveform = _waveform(rounded, folder)
    # Written so that NaN does not pass.
    if not (difference := difference_db(rounded, waveform)) <= MAX_DIFFERENCE_DB:
        raise ValueError(
            f"the LiteRT graphs differ from the networks by {difference:.1f} dB and may by "
            f"{MAX_DIFFERENCE_DB:g} dB: TensorFlow {tf.__version__} converts them wrongly"
        )
    difference = difference_db(synthesizer, waveform)
    text = json.dumps(_manifest(synthesizer, found, folder, difference, training), indent=2)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    return difference


def _rounded(synthesizer: Synthesizer) -> Synthesizer:
    """The same with weights that float16 can hold."""
    rounded = Synthesizer(synthesizer.config)
    for name, network in synthesizer.networks.items():
        weights = [w.astype(np.float16).astype(np.float32) for w in network.get_weights()]
        rounded.networks[name].set_weights(weights)
    return rounded


def _converted(synthesizer: Synthesizer, found: Mapping[str, Signature]) -> dict[str, bytes]:
    """The graphs as TFLite files."""
    module = tf.Module()
    module.weights = [v.value for network in synthesizer.networks.values() for v in network.weights]
    contents = {}
    with tempfile.TemporaryDirectory() as scratch:
        # By way of a SavedModel, or the names of inputs and outputs would be lost.
        tf.saved_model.save(
            module, scratch, signatures={name: graph.unchecked() for name, graph in found.items()}
        )
        for name in found:
            converter = tf.lite.TFLiteConverter.from_saved_model(scratch, signature_keys=[name])
            contents[name] = _halved(converter.convert())
    return contents


def _halved(content: bytes) -> bytes:
    """A TFLite file whose constants are float16 wherever that changes none of their values.

    The converter's own way rounds all of them, also what follows from weights and a 2π in an angle.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    opcode = schema.OperatorCodeT()
    opcode.builtinCode = opcode.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes.append(opcode)
    n_users = collections.Counter(t.buffer for graph in model.subgraphs for t in graph.tensors)
    for graph in model.subgraphs:
        widened = []
        for index, tensor in enumerate(list(graph.tensors)):
            half = _as_half(model, tensor) if n_users[tensor.buffer] == 1 else None
            if half is not None:
                graph.tensors.append(half)
                operator = schema.OperatorT()
                operator.opcodeIndex = len(model.operatorCodes) - 1
                operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
                widened.append(operator)
        graph.operators = widened + graph.operators
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _as_half(model: schema.ModelT, tensor: schema.TensorT) -> schema.TensorT | None:
    """A constant as a new one of float16, and the old one emptied; None where it stays."""
    data = model.buffers[tensor.buffer].data
    if tensor.type != schema.TensorType.FLOAT32 or data is None or len(data) < _LEAST_HALVED_BYTES:
        return None
    values = np.frombuffer(bytes(data), np.float32)
    rounded = values.astype(np.float16)
    if not np.array_equal(rounded.astype(np.float32), values):
        return None
    half = copy.copy(tensor)
    half.name, half.type = tensor.name + b"_float16", schema.TensorType.FLOAT16
    model.buffers[half.buffer].data = np.frombuffer(rounded.tobytes(), np.uint8)
    # Buffer 0 is that of tensors that are computed.
    tensor.buffer = 0
    return half


def _manifest(
    synthesizer: Synthesizer,
    found: Mapping[str, Signature],
    folder: pathlib.Path,
    difference: float,
    training: Mapping[str, Any],
) -> dict[str, Any]:
    described = {}
    for name, graph in found.items():
        content = (folder / f"{name}.tflite").read_bytes()
        described[name] = {
            "file": f"{name}.tflite",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            **graph.as_dict(),
        }
    return {
        "format_version": MANIFEST_FORMAT_VERSION,
        **describe(synthesizer, training),
        "difference_db": round(difference, 1),
        "graphs": described,
    }


def difference_db(synthesizer: Synthesizer, waveform: np.ndarray) -> float:
    """RMS difference from the synthesizer's waveform of the window, over its RMS, in dB."""
    given = {name: tf.constant(value) for name, value in _window(synthesizer.config).items()}
    latents = graphs(synthesizer)["generator"].compute(**given)["latents"]
    expected, _ = synthesizer.decode(latents, synthesizer.no_overlap(1))
    ratio = np.mean(np.square(waveform - expected)) / np.mean(np.square(expected))
    return 10.0 * math.log10(max(ratio, 1e-20))


def _window(config: Config) -> dict[str, np.ndarray]:
    """What the generator is given of the first window of a piece, in the middle of all ranges."""
    gan, seed = config.gan, [1, 0]
    steps = -gan.context_n_steps, gan.seq_len + 2 * gan.context_n_steps
    seeds = [tf.constant([seed])] * 2
    line, style = coordinates.draw_window(gan, *seeds, *steps, tf.constant([2.0]))
    inputs = {"coordinates": line.numpy(), "style": style.numpy(), "start": np.zeros(1, np.int32)}
    if signals := config.conditioning.along_time:
        values = controls.values(controls.parse_all({}, signals), config, seed, *steps)
        inputs["conditioning"] = values[np.newaxis]
    return inputs


def _waveform(synthesizer: Synthesizer, folder: pathlib.Path) -> np.ndarray:
    """The waveform [1, n, 2] of the window by the graphs in a folder."""
    config = synthesizer.config
    paths = {name: str(folder / f"{name}.tflite") for name in ("generator", "decoder")}
    run = {
        name: tf.lite.Interpreter(path, num_threads=1).get_signature_runner(name)
        for name, path in paths.items()
    }
    latents = run["generator"](**_window(config))["latents"]
    excerpts = np.split(latents, config.gan.seq_len // config.excerpt_n_latents, axis=1)
    spectra = [run["decoder"](latents=excerpt) for excerpt in excerpts]
    real, imaginary = (
        np.concatenate([spectrum[part] for spectrum in spectra], axis=1)
        for part in ("real", "imaginary")
    )
    autoencoder = synthesizer.autoencoder
    spectrum = autoencoder.with_consistent_phases(tf.complex(real, imaginary))
    waveform = autoencoder.inverse_stft(spectrum).numpy().T[np.newaxis]
    return np.clip(waveform[:, : len(excerpts) * config.audio.excerpt_n_samples], -1.0, 1.0)
