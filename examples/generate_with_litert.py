"""A WAV file without TensorFlow: the LiteRT graphs of a model and NumPy.

pip install ai-edge-litert numpy
python generate_with_litert.py --model=models/techno/1/litert --condition=tempo_bpm=128 \
    --seconds=30 --seed=1 --out=techno.wav

`musika-export --litert` makes the folder; manifest.json in it says everything that this program
knows of the model. The draws are NumPy's, so a seed is another piece here than elsewhere.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import statistics
import wave
from collections.abc import Iterator

import numpy as np
from ai_edge_litert.interpreter import Interpreter

Inputs = dict[str, np.ndarray]


def main() -> None:
    """Makes the file that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, help="Folder of the graphs.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truncation", type=float, default=2.0, help="Smaller is more stable.")
    parser.add_argument(
        "--condition", action="append", default=[], metavar="NAME=VALUE", help="Of each signal."
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", required=True, help="WAV file to write.")
    arguments = parser.parse_args()
    manifest = json.loads((arguments.model / "manifest.json").read_text("utf-8"))
    generate, decode = (
        Interpreter(
            str(arguments.model / f"{name}.tflite"), num_threads=arguments.threads
        ).get_signature_runner(name)
        for name in ("generator", "decoder")
    )
    rate_hz = manifest["sample_rate_hz"]
    n_left = max(1, round(arguments.seconds * rate_hz))
    piece = Piece(manifest, arguments.seed, arguments.truncation, asked(manifest, arguments))
    with wave.open(arguments.out, "wb") as file:
        file.setparams((2, 2, rate_hz, 0, "NONE", ""))
        latents = (generate(**inputs)["latents"] for inputs in piece.windows())
        for waveform in decoded(manifest, latents, decode):
            samples = np.rint(waveform[:n_left] * 32768).clip(-32768, 32767)
            file.writeframes(samples.astype("<i2").tobytes())
            n_left -= len(samples)
            if n_left <= 0:
                return


def asked(manifest: dict, arguments: argparse.Namespace) -> list[float]:
    """The value of each control of the model, in its order."""
    given = dict(condition.split("=", 1) for condition in arguments.condition)
    values = []
    for control in manifest["controls"]:
        name, least, most = control["name"], control["minimum"], control["maximum"]
        if name not in given:
            raise SystemExit(f"give --condition={name}=VALUE from {least} to {most}")
        values.append(float(given.pop(name)))
        if not least <= values[-1] <= most:
            raise SystemExit(f"{name}={values[-1]} must be from {least} to {most}")
    if given:
        raise SystemExit(f"this model does not follow {', '.join(given)}")
    return values


class Piece:
    """What the generator is given along an endless line, window after window."""

    def __init__(self, manifest: dict, seed: int, truncation: float, values: list[float]):
        self.manifest, self.values = manifest, values
        self.rng, self.truncation = np.random.default_rng(seed), truncation
        inputs = manifest["graphs"]["generator"]["inputs"]
        self.n_steps, self.anchor_depth = inputs["coordinates"]["shape"][1:]
        self.style = self.draw(inputs["style"]["shape"][-1])
        # The first one stands before the piece.
        self.anchors = [self.draw(self.anchor_depth)]

    def draw(self, depth: int) -> np.ndarray:
        """Standard normal draws cut at ±truncation, by the inverse of the distribution function."""
        normal = statistics.NormalDist()
        limits = normal.cdf(-self.truncation), normal.cdf(self.truncation)
        return np.array([normal.inv_cdf(p) for p in self.rng.uniform(*limits, depth)], np.float32)

    def windows(self) -> Iterator[Inputs]:
        """Inputs of one window after the other, each with its context."""
        context = self.manifest["context_n_latents"]
        for start in range(0, 2**31 - 1, self.n_steps - 2 * context):
            steps = np.arange(start - context, start - context + self.n_steps)
            inputs = {
                "coordinates": self.coordinates(steps)[np.newaxis],
                "style": np.tile(self.style, [1, self.n_steps, 1]),
                "start": np.int32([start]),
            }
            if self.values:
                inputs["conditioning"] = self.conditioning(steps)[np.newaxis]
            yield inputs

    def coordinates(self, steps: np.ndarray) -> np.ndarray:
        """On straight lines between anchors, [n, anchor_depth]."""
        interval = self.manifest["n_latents_per_anchor"]
        index = steps // interval + 1
        while len(self.anchors) <= index[-1] + 1:
            self.anchors.append(self.draw(self.anchor_depth))
        anchors, k = np.stack(self.anchors), (steps % interval / interval)[:, np.newaxis]
        return ((1 - k) * anchors[index] + k * anchors[index + 1]).astype(np.float32)

    def conditioning(self, steps: np.ndarray) -> np.ndarray:
        """The values, and of a clock the beats since the piece began, [n, signals]."""
        manifest, columns = self.manifest, []
        audio = manifest["config"]["audio"]
        reach = (audio["window_size"] - audio["hop_size"]) // 2 / manifest["sample_rate_hz"]
        seconds = reach + (steps + 0.5) * manifest["seconds_per_latent"]
        for signal, value in zip(manifest["signals"], self.values, strict=True):
            is_clock = signal["rate"] == "beats"
            beats = value * seconds / 60 % signal["maximum"]
            columns.append(beats if is_clock else np.full(len(steps), value))
        return np.stack(columns, axis=-1).astype(np.float32)


def decoded(manifest: dict, latents: Iterator[np.ndarray], decode) -> Iterator[np.ndarray]:
    """Latents of windows → waveform, [n, 2] in [-1, 1], excerpt after excerpt."""
    audio = manifest["config"]["audio"]
    hop, n_excerpt = audio["hop_size"], audio["excerpt_n_frames"] * audio["hop_size"]
    per_excerpt = manifest["graphs"]["decoder"]["inputs"]["latents"]["shape"][1]
    window = hann(audio["window_size"])
    whole = np.square(window).reshape(-1, hop).sum(axis=0)
    synthesis_window = window / np.tile(whole, len(window) // hop)
    overlap = np.zeros((2, len(window) - hop))
    for made in latents:
        for start in range(0, made.shape[1], per_excerpt):
            parts = decode(latents=made[:, start : start + per_excerpt])
            spectrum = consistent(manifest, parts["real"] + 1j * parts["imaginary"])
            waveform = overlap_add(np.fft.irfft(spectrum) * synthesis_window, hop)
            waveform[:, : overlap.shape[1]] += overlap
            overlap = waveform[:, n_excerpt:]
            yield np.clip(waveform[:, :n_excerpt].T, -1.0, 1.0)


def consistent(manifest: dict, spectrum: np.ndarray) -> np.ndarray:
    """Phases of an excerpt moved towards those of a waveform (Griffin & Lim 1984)."""
    audio, floor = manifest["config"]["audio"], 0.01
    hop, window = audio["hop_size"], hann(audio["window_size"])
    magnitudes = np.sqrt(np.maximum(np.abs(spectrum) ** 2, 1e-3 * np.exp(-10.0)))
    squares = np.broadcast_to(window**2, (1, spectrum.shape[1], len(window)))
    weights = np.maximum(overlap_add(squares, hop), 1e-3)
    for _ in range(manifest["config"]["autoencoder"]["consistency_n_steps"]):
        waveform = overlap_add(np.fft.irfft(spectrum) * window, hop) / weights
        frames = np.lib.stride_tricks.sliding_window_view(waveform, len(window), axis=1)
        found = np.fft.rfft(frames[:, ::hop] * window)
        least = floor * magnitudes**2
        spectrum = found * magnitudes / np.sqrt((np.abs(found) ** 2 + least) / (1 + floor))
    return spectrum


def overlap_add(frames: np.ndarray, hop: int) -> np.ndarray:
    """Frames [channels, n, size], each begun a hop later, and summed: [channels, samples]."""
    n, size = frames.shape[1:]
    total = np.zeros((len(frames), n * hop + size - hop))
    for index in range(n):
        total[:, index * hop : index * hop + size] += frames[:, index]
    return total


@functools.cache
def hann(size: int) -> np.ndarray:
    """A periodic Hann window."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


if __name__ == "__main__":
    main()
