"""How good is a trained run: what it generates beside real music that it never trained on.

Four kinds of pieces are measured in the same way:

    generated       anchors and style from the seed → generator → decoders
    reconstructed   the real ones → encoders → decoders: the best that a generator could reach
    real            evenly spaced crops of the held-out files
    untrained       as generated, by networks with random weights

The latents of generated pieces are compared with those of real music, without decoding.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from musika_tf import progress, statistics
from musika_tf.config import INT16_SCALE, AudioConfig, Config
from musika_tf.data import datasets
from musika_tf.data.encoding import FileCodec
from musika_tf.data.shards import Position, Shards
from musika_tf.evaluation import diagnostics, music, reconstruction
from musika_tf.evaluation.reconstruction import Distances
from musika_tf.generation import Request
from musika_tf.networks.autoencoder import Autoencoder, join_channels
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.runs.run import Run

KINDS = ("generated", "reconstructed", "real", "untrained")
GENERATED, RECONSTRUCTED, REAL, UNTRAINED = KINDS
TRAINING, HELD_OUT = "training", "held-out"

# Pieces whose latents are compared, of two patches each: 19 minutes of the paper's systems.
N_LATENT_PIECES = 48
_N_LATENT_PIECES_AT_ONCE = 8
# At most so much of each split is encoded, in crops of at most this length, evenly spaced: as much
# as is generated, because few latents make Fréchet distances larger.
MAX_ENCODED_SECONDS = 20 * 60.0
ENCODED_CROP_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class System:
    """A run ready to be measured; `load` makes it."""

    run: Run
    data_dir: str | os.PathLike
    request: Request
    trained: Synthesizer
    untrained: Synthesizer  # the same networks with random weights
    codec: FileCodec
    shards: Shards  # waveforms, both splits

    @property
    def config(self) -> Config:
        """Of the run."""
        return self.trained.config

    @property
    def n_samples(self) -> int:
        """Length of every piece."""
        return round(self.request.seconds * self.config.audio.sample_rate_hz)

    @property
    def about(self) -> dict[str, Any]:
        """What was measured, as JSON takes it; of folders only the last part."""
        steps = {stage: known["step"] for stage, known in self.run.provenance().items()}
        run = {
            "name": self.run.folder.resolve().name,
            "weights_sha256": self.trained.weights_sha256(),
            "encoder_fingerprint": self.run.encoder_fingerprint(),
            "steps": steps,
        }
        return {"run": run, "data": pathlib.Path(self.data_dir).resolve().name}


@dataclasses.dataclass(frozen=True)
class Piece:
    """One piece of music, of one of the `KINDS`."""

    kind: str
    index: int
    waveform: np.ndarray  # float32 [n_samples, 2] in [-1, 1]

    @property
    def name(self) -> str:
        """For files: `generated-0`."""
        return f"{self.kind}-{self.index}"


@dataclasses.dataclass(frozen=True)
class Result:
    """Everything that was measured.

    Attributes:
      reconstruction: by way, see `reconstruction.measure`.
      pieces: by kind, means over its pieces of `music.waveform_metrics`.
      waveform_seams, latent_seams: by kind, of `music.Grid.tested`.
      frechet: by whose latents were compared with the held-out ones, Fréchet distances: `windows`,
        of a second, by `statistics.window_frechet`; `window_means`, with the mean over a window as
        a draw; `single_steps`, with a latent step as a draw; and `n_windows`.
      diagnostics: of `diagnostics.measure`.
      nearest: by whose windows were compared with those of training, see `nearest`.
      encoded_seconds: by split, how much real music was encoded.
      window_n_latents: length of the windows.
    """

    reconstruction: Mapping[str, Distances]
    pieces: Mapping[str, Mapping[str, float]]
    waveform_seams: Mapping[str, Mapping[str, float | None]]
    latent_seams: Mapping[str, Mapping[str, float | None]]
    frechet: Mapping[str, Mapping[str, float]]
    diagnostics: Mapping[str, float] | None
    nearest: Mapping[str, Mapping[str, float]]
    encoded_seconds: Mapping[str, float]
    window_n_latents: int


def load(run: Run, data_dir: str | os.PathLike, request: Request) -> System:
    """Loads a run and opens its waveform shards, best those that it was trained with.

    Raises:
      ValueError: a stage was not trained yet, run and shards do not fit together, pieces are too
        short to have a seam, or no held-out file is as long.
    """
    trained = run.synthesizer()
    config = trained.config
    shards = datasets.open_waveforms(data_dir, config)
    least_seconds = 2 * config.patch_n_samples / config.audio.sample_rate_hz
    if request.seconds < least_seconds:
        raise ValueError(
            f"seconds={request.seconds:g} is too short to hear where two patches meet: give at "
            f"least {least_seconds:.1f}"
        )
    # The only way to Keras' random weights; nothing else here draws from it.
    keras.utils.set_random_seed(request.seed)
    codec = FileCodec(trained.autoencoder)
    system = System(run, data_dir, request, trained, Synthesizer(config), codec, shards)
    shards.fixed_positions(request.n_pieces, system.n_samples)
    # What of it is encoded must hold a window.
    window_size = config.second_n_latents * config.latent_hop_size
    n_excerpts = -(-window_size // config.audio.excerpt_n_samples)
    shards.fixed_positions(1, datasets.held_out_n_samples(config.audio, n_excerpts), "train")
    return system


def measure(system: System, pieces: Iterator[Piece]) -> Result:
    """Measures a run by the pieces of `make_pieces`, which a caller may look at on the way."""
    config, trained, untrained = system.config, system.trained, system.untrained
    ways = reconstruction.measure(trained.autoencoder, untrained.autoencoder, system.shards)
    metrics, seams = _measure_pieces(system, pieces)
    latents = _latents(system)
    n_latents = config.second_n_latents
    held_out, _ = encoded_positions(config.audio, system.shards, "validation")
    step_seconds = config.latent_hop_size / config.audio.sample_rate_hz
    return Result(
        reconstruction=ways,
        pieces=metrics,
        waveform_seams=seams,
        latent_seams=_latent_seams(config, latents),
        frechet=_frechet(latents, n_latents),
        diagnostics=diagnostics.measure(system.run, system.data_dir, held_out, latents[HELD_OUT]),
        nearest={
            name: nearest(latents[name], latents[TRAINING], n_latents)
            for name in (GENERATED, HELD_OUT, UNTRAINED)
        },
        encoded_seconds={
            name: latents[name][..., 0].size * step_seconds for name in (TRAINING, HELD_OUT)
        },
        window_n_latents=n_latents,
    )


# Pieces


def make_pieces(system: System) -> Iterator[Piece]:
    """All pieces, one of each kind at a time, with a progress bar."""
    request = system.request
    positions = system.shards.fixed_positions(request.n_pieces, system.n_samples)
    for index, position in enumerate(progress.bar(positions, desc="music", unit=" samples")):
        real = crop(system.shards, position, system.n_samples)
        yield Piece(GENERATED, index, generate(system.trained, request, index))
        decoded = system.codec.decode(system.codec.encode(real), len(real))
        yield Piece(RECONSTRUCTED, index, decoded)
        yield Piece(REAL, index, real)
        yield Piece(UNTRAINED, index, generate(system.untrained, request, index))


def crop(shards: Shards, position: Position, n_samples: int) -> np.ndarray:
    """A part of a waveform: float32 [n_samples, 2] in [-1, 1]."""
    return shards.crops([position], n_samples)[0].astype(np.float32) / INT16_SCALE


def generate(synthesizer: Synthesizer, request: Request, index: int) -> np.ndarray:
    """Piece number `index` of a request, a conditional system given the middle of its signals:
    float32 [n_samples, 2]."""
    arguments = _draw_arguments(synthesizer.config, request, [index], request.seconds)
    waveform, _ = synthesizer.generate(*arguments)
    return waveform[0].numpy()


def _draw_arguments(
    config: Config, request: Request, indices: Sequence[int], seconds: float
) -> tuple[tf.Tensor | None, ...]:
    """Arguments of `Synthesizer.generate` for pieces, a row each."""
    middles = [signal.middle for signal in config.conditioning.asked]
    n_pieces = len(indices)
    return (
        tf.constant([[request.seed, index] for index in indices]),
        tf.fill([n_pieces], seconds),
        tf.fill([n_pieces], request.truncation),
        tf.constant([middles] * n_pieces, tf.float32) if middles else None,
    )


def _measure_pieces(
    system: System, pieces: Iterator[Piece]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float | None]]]:
    """Means of the metrics, and ratios at seams, by kind."""
    audio = system.config.audio
    metrics: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    changes: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for piece in pieces:
        metrics[piece.kind].append(music.waveform_metrics(piece.waveform, audio.sample_rate_hz))
        changes[piece.kind].append(music.spectral_flux(piece.waveform, audio))
    grid = music.Grid.of_frames(system.config)
    # Encoding puts zeros before a file, so its first frame is not the first on the grid.
    firsts = dict.fromkeys((RECONSTRUCTED, REAL), audio.overlap_size // audio.hop_size)
    means = {kind: statistics.means(rows) for kind, rows in metrics.items()}
    seams = {
        kind: grid.tested(np.stack(rows), firsts.get(kind, 0)) for kind, rows in changes.items()
    }
    return means, seams


# Latents


def _latents(system: System) -> dict[str, np.ndarray]:
    """Latents [n_pieces, n_steps, stereo_latent_depth], by whose they are."""
    return {
        GENERATED: generated_latents(system.trained, system.request),
        UNTRAINED: generated_latents(system.untrained, system.request),
        HELD_OUT: encoded(system.trained.autoencoder, system.shards, "validation"),
        TRAINING: encoded(system.trained.autoencoder, system.shards, "train"),
    }


def generated_latents(synthesizer: Synthesizer, request: Request) -> np.ndarray:
    """The first two patches of pieces 0 to N_LATENT_PIECES - 1: [n, n_steps, depth]."""
    config = synthesizer.config
    seconds = 2 * config.patch_n_samples / config.audio.sample_rate_hz
    n_batches = -(-N_LATENT_PIECES // _N_LATENT_PIECES_AT_ONCE)
    indices, batches = np.array_split(np.arange(N_LATENT_PIECES), n_batches), []
    for batch in progress.bar(indices, desc="generating latents", unit=" batches"):
        arguments = _draw_arguments(config, request, batch.tolist(), seconds)
        latents, _ = synthesizer.generate_latents(*arguments)
        batches.append(latents[:, : 2 * config.gan.seq_len].numpy())
    return np.concatenate(batches)


def encoded(autoencoder: Autoencoder, shards: Shards, split: str) -> np.ndarray:
    """Latents [n, n_steps, depth] of evenly spaced crops of a split: all that may be encoded."""
    positions, n_samples = encoded_positions(autoencoder.config.audio, shards, split)
    latents = [
        join_channels(autoencoder.encode(crop(shards, position, n_samples).T)[None])
        for position in progress.bar(positions, desc=f"encoding the {split} split", unit=" crops")
    ]
    return np.concatenate(latents)


def encoded_positions(audio: AudioConfig, shards: Shards, split: str) -> tuple[list[Position], int]:
    """Where the crops of a split that are encoded begin, and their length in samples."""
    n_rows = min(shards.longest(split).n_rows, round(ENCODED_CROP_SECONDS * audio.sample_rate_hz))
    # Whole excerpts, so that no latent sees the zeros with which a codec fills up a file.
    n_excerpts = (n_rows - audio.overlap_size) // audio.excerpt_n_samples
    n_samples = datasets.held_out_n_samples(audio, n_excerpts)
    n_all = sum(source.n_rows for source in shards.split(split))
    n_crops = min(n_all, round(MAX_ENCODED_SECONDS * audio.sample_rate_hz)) // n_samples
    return shards.fixed_positions(max(1, n_crops), n_samples, split), n_samples


def _latent_seams(
    config: Config, latents: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float | None]]:
    grid = music.Grid.of_latents(config)
    return {
        kind: grid.tested(music.latent_changes(latents[name]))
        for kind, name in ((GENERATED, GENERATED), (REAL, HELD_OUT), (UNTRAINED, UNTRAINED))
    }


def _frechet(latents: Mapping[str, np.ndarray], n_latents: int) -> dict[str, dict[str, float]]:
    means = {name: music.window_means(values, n_latents) for name, values in latents.items()}
    return {
        name: {
            "windows": statistics.window_frechet(latents[HELD_OUT], latents[name], n_latents),
            "window_means": statistics.frechet_distance(means[name], means[HELD_OUT]),
            "single_steps": statistics.frechet_distance(latents[name], latents[HELD_OUT]),
            "n_windows": len(means[name]),
        }
        for name in (GENERATED, TRAINING, UNTRAINED)
    }


def nearest(latents: np.ndarray, training: np.ndarray, n_latents: int) -> dict[str, float]:
    """Distances of windows of latents to the nearest window of training latents, both
    [n_pieces, n_steps, depth]: their `mean`, the `least`, and `n_windows`."""
    # At every step of training: what is copied may begin at any of them.
    references = statistics.windows(training, n_latents)
    windows = statistics.windows(latents, n_latents, hop=n_latents)
    found = statistics.nearest_distances(windows, references)
    return {"mean": float(found.mean()), "least": float(found.min()), "n_windows": len(found)}
