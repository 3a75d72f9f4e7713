"""Music from an exported model, with TensorFlow alone.

    python generate_with_tensorflow.py --model=models/techno/1 --condition=tempo_bpm=128 \
        --seconds=30 --out=techno.wav

The signature `generate` draws everything from a seed. `serving_default` takes the draws from the
caller (--signature=serving_default): anchors, one every `seconds_per_anchor`, between which the
music moves, and one style for the whole piece. Who keeps them can change some and keep the others.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys
import wave

import numpy as np
import tensorflow as tf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="Folder of a version.")
    parser.add_argument("--signature", default="generate", choices=["generate", "serving_default"])
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
    parser.add_argument("--out", required=True, help="WAV file to write.")
    flags = parser.parse_args()

    metadata = json.loads((flags.model / "metadata.json").read_text(encoding="utf-8"))
    constants = checked(dict(flags.condition), metadata["controls"])
    make_inputs = generate_inputs if flags.signature == "generate" else serving_default_inputs
    inputs = make_inputs(metadata, flags.seconds, flags.seed, flags.truncation, constants)
    # `model` must live as long as its signatures are called: it owns the weights.
    model = tf.saved_model.load(str(flags.model))
    try:
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        waveform = model.signatures[flags.signature](**tensors)["waveform"][0].numpy()
    except tf.errors.InvalidArgumentError as error:  # the message names the input
        sys.exit(error.message)
    rate_hz = metadata["sample_rate_hz"]
    write_wav(flags.out, waveform[: round(flags.seconds * rate_hz)], rate_hz)


def name_and_value(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


def checked(constants: dict[str, float], controls: list[dict]) -> dict[str, float]:
    """The value of each thing that the model follows, in the order in which it takes them."""
    ranges = {control["name"]: (control["minimum"], control["maximum"]) for control in controls}
    if set(constants) != set(ranges):
        takes = [f"--condition={name}=({low} to {high})" for name, (low, high) in ranges.items()]
        sys.exit(f"this model takes {' '.join(takes) or 'no --condition'}")
    for name, (low, high) in ranges.items():
        if not low <= constants[name] <= high:
            sys.exit(f"{name}={constants[name]} must be from {low} to {high}")
    return {name: constants[name] for name in ranges}


def generate_inputs(metadata, seconds, seed, truncation, constants) -> dict[str, np.ndarray]:
    """One row, that is one piece. The model's own draws: the same seed is the same music."""
    numbers = {"seconds": seconds, "truncation": truncation, **constants}
    seeds = np.array([[seed, 0]], np.int32)
    return {"seed": seeds, **{name: np.array([x], np.float32) for name, x in numbers.items()}}


def serving_default_inputs(metadata, seconds, seed, truncation, constants) -> dict[str, np.ndarray]:
    """Anchors and style drawn here, and the conditioning of each latent step."""
    shapes = {
        name: port["shape"]
        for name, port in metadata["signatures"]["serving_default"]["inputs"].items()
    }
    # The music looks ahead: with what comes after it, it ends as if it went on.
    n_latents = math.ceil(seconds / metadata["seconds_per_latent"]) + metadata["context_n_latents"]
    n_between = max(1, math.ceil(n_latents / metadata["n_latents_per_anchor"]))
    rng = np.random.default_rng(seed)
    inputs = {
        "style": truncated_normal(rng, [1, shapes["style"][-1]], truncation),
        "anchors": truncated_normal(rng, [1, n_between + 1, shapes["anchors"][-1]], truncation),
    }
    if constants:
        minutes = np.arange(n_between * metadata["n_latents_per_anchor"])
        minutes = minutes * metadata["seconds_per_latent"] / 60
        # Beats are what a tempo has counted; whole bars are taken away.
        columns = [
            value * minutes % signal["maximum"]
            if signal["rate"] == "beats"
            else value + 0 * minutes
            for signal, value in zip(metadata["signals"], constants.values(), strict=True)
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
