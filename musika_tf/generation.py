"""Music of any length from an exported model, streamed to audio files in constant memory.

Needs the SavedModel and its metadata.json, and none of the networks' code: anchors and style are
drawn here, what a conditional model is told is read or drawn here, the model does the rest.

    anchor            0               1               2               3         drawn when needed
    patch             |   0   |   1   |   2   |   3   |   4   |   5   |   …
    conditioning      a value a latent step
    latents, decode   from one anchor to the next; the overlap goes into what follows
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from musika_tf import audio as audio_io
from musika_tf import coordinates, figures
from musika_tf.conditioning import signals
from musika_tf.config import N_CHANNELS, Config, GanConfig

# Beside saved_model.pb: what the model is.
METADATA_FILE = "metadata.json"
METADATA_FORMAT_VERSION = 1
_MAX_SEED = 2**31 - 1
# From one anchor to the next.
_N_PATCHES = 2

# A picture of a longer piece would show nothing, and the piece may not fit in memory.
_PICTURE_MAX_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Request:
    """What to generate.

    Attributes:
      seconds: length of each sample.
      seed: from 0 to 2^31 - 1; sample i draws from the pair (seed, i).
      truncation: anchors and style are standard normal draws cut at ± this.
      n_samples: how many samples.
      told: of a conditional model, for each signal by its name a number, `random_walk` or the path
        of a curve, as `signals.parse` takes them.

    Raises:
      ValueError: a value is out of range.
    """

    seconds: float = 60.0
    seed: int = 0
    truncation: float = 2.0
    n_samples: int = 1
    told: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not 0.0 < self.seconds < math.inf:
            raise ValueError(f"seconds={self.seconds} must be above 0, like 60")
        if not 0.0 < self.truncation <= coordinates.MAX_TRUNCATION:
            raise ValueError(
                f"truncation={self.truncation} must be above 0 and at most "
                f"{coordinates.MAX_TRUNCATION:g}: 2 is usual, smaller is more stable"
            )
        if not 0 <= self.seed <= _MAX_SEED:
            raise ValueError(f"seed={self.seed} must be from 0 to {_MAX_SEED}")
        if self.n_samples < 1:
            raise ValueError(f"n_samples={self.n_samples} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of one sample.

    Attributes:
      path: the file.
      duration_seconds: of the file.
      elapsed_seconds: that making it took.
      peak: largest absolute sample.
      rms: root of the mean of all squared samples.
      is_complete: False if the user ended it early.
    """

    path: pathlib.Path
    duration_seconds: float
    elapsed_seconds: float
    peak: float
    rms: float
    is_complete: bool

    def __str__(self) -> str:
        speed = self.duration_seconds / self.elapsed_seconds
        rms_dbfs = 20.0 * math.log10(self.rms) if self.rms else -math.inf
        return (
            f"{self.path}: {self.duration_seconds:.2f} s{'' if self.is_complete else ' (stopped)'},"
            f" {speed:.1f} × real time, peak {self.peak:.3f}, RMS {rms_dbfs:.1f} dBFS"
        )


def find_version(model_dir: str | os.PathLike) -> pathlib.Path:
    """The folder of a version: `model_dir` itself, or the newest version in it.

    Raises:
      ValueError: there is none.
    """
    model_dir = pathlib.Path(model_dir)
    children = model_dir.iterdir() if model_dir.is_dir() else ()
    versions = sorted((p for p in children if p.name.isdecimal()), key=lambda p: int(p.name))
    for folder in (model_dir, *reversed(versions)):
        if (folder / "saved_model.pb").is_file():
            return folder
    raise ValueError(
        f"{model_dir} holds no exported model and is no run: "
        f"`musika-export --run_dir=RUN --model_dir={model_dir}` makes one"
    )


class Model:
    """An exported model, loaded.

    Args:
      model_dir: a version, or a folder of versions, of which the newest is taken.
      jit_compile: compile the networks with XLA, once for every length of chunk.

    Raises:
      ValueError: there is no model, or it is of another format.
    """

    def __init__(self, model_dir: str | os.PathLike, jit_compile: bool = False):
        self.path = find_version(model_dir)
        self.metadata = _read_metadata(self.path)
        self.config = Config.from_json(json.dumps(self.metadata.get("config")))
        # Keeps the weights alive, which the signatures hold only weakly.
        self._loaded = tf.saved_model.load(str(self.path))
        self._latents = self._loaded.signatures["latents"]
        self._decode = self._loaded.signatures["decode"]
        if jit_compile:
            self._latents = tf.function(self._latents, jit_compile=True)
            self._decode = tf.function(self._decode, jit_compile=True)

    def latents(
        self, patch: tf.Tensor, style: tf.Tensor, conditioning: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Latents of one patch a row.

        Args:
          patch: coordinates, float32 [B, seq_len, anchor_depth].
          style: float32 [B, style_depth].
          conditioning: float32 [B, seq_len, n_signals] in user units; None: it is unconditional.

        Returns:
          float32 [B, seq_len, stereo_latent_depth].
        """
        told = {} if conditioning is None else {"conditioning": conditioning}
        return self._latents(coordinates=patch, style=style, **told)["latents"]

    def decode(self, latents: tf.Tensor, overlap: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Latents of whole excerpts → waveform [B, n_samples, 2] in [-1, 1] and next overlap."""
        outputs = self._decode(latents=latents, overlap=overlap)
        return outputs["waveform"], outputs["overlap"]

    def stream(
        self,
        seed: tuple[int, int],
        truncation: float,
        controls: Sequence[signals.Control] = (),
        n_samples: int | None = None,
    ) -> Iterator[np.ndarray]:
        """A piece, chunk after chunk, each computed when it is asked for.

        A chunk goes from anchor to anchor, but for the first ones: they begin with a single
        excerpt, so that there is something to hear as soon as can be, and double until the second
        anchor is reached.

        Args:
          seed: two integers from 0 to 2^31 - 1.
          truncation: above 0.
          controls: what the model is told, one control a signal, as `signals.parse_all` gives.
          n_samples: where the piece ends; None: nowhere.

        Yields:
          float32 [n_samples, 2] in [-1, 1].

        Raises:
          ValueError: another number of controls than the model has signals.
        """
        for chunk in self._chunks(seed, truncation, controls):
            yield chunk[:n_samples]
            if n_samples is not None:
                n_samples -= len(chunk)
                if n_samples <= 0:
                    return

    def _chunks(
        self, seed: tuple[int, int], truncation: float, controls: Sequence[signals.Control]
    ) -> Iterator[np.ndarray]:
        told, chunk_sizes = self._conditioning(seed, controls), self._chunk_sizes()
        seed, truncation = tf.constant([seed], tf.int32), tf.constant([truncation], tf.float32)
        overlap = tf.zeros([1, self.config.audio.overlap_size, N_CHANNELS])
        for index in itertools.count():
            patches, style = _draw(self.config.gan, seed, tf.constant(index), truncation)
            latents = self.latents(patches, style, next(told))
            latents = tf.reshape(latents, [1, -1, latents.shape[-1]])
            for chunk in tf.split(latents, next(chunk_sizes), axis=1):
                waveform, overlap = self.decode(chunk, overlap)
                yield waveform.numpy()[0]

    def _chunk_sizes(self) -> Iterator[list[int]]:
        """Latents of each chunk, for every pair of patches."""
        left, size, first = _N_PATCHES * self.config.gan.seq_len, self.config.excerpt_n_latents, []
        whole = left
        while left >= 2 * size:
            first.append(size)
            left, size = left - size, 2 * size
        yield [*first, left]
        yield from itertools.repeat([whole])

    def _conditioning(
        self, seed: tuple[int, int], controls: Sequence[signals.Control]
    ) -> Iterator[tf.Tensor | None]:
        """What each pair of patches is told, [2, seq_len, n_signals]; None: nothing."""
        if not controls and not self.config.conditioning.signals:
            return itertools.repeat(None)
        shape = [_N_PATCHES, self.config.gan.seq_len, -1]
        blocks = signals.blocks(controls, self.config, seed, shape[0] * shape[1])
        return (tf.reshape(tf.constant(block), shape) for block in blocks)


@tf.function(reduce_retracing=True)
def _draw(
    sizes: GanConfig, seed: tf.Tensor, index: tf.Tensor, truncation: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Coordinates [2, seq_len, anchor_depth] after anchor `index`, and the style, [2, style_depth].

    Traced, because the draws are many small operations: 20 ms one by one, 1 ms together.
    """
    anchors = coordinates.draw_anchors(seed, index, 2, sizes.anchor_depth, truncation)
    style = coordinates.draw_style(seed, sizes.style_depth, truncation)
    patches = coordinates.patches(anchors, sizes.seq_len)[0]
    return patches, tf.repeat(style, _N_PATCHES, axis=0)


def _read_metadata(version_dir: pathlib.Path) -> dict:
    path = version_dir / METADATA_FILE
    if not path.exists():
        raise ValueError(
            f"{version_dir} has no {METADATA_FILE}: it is no model of `musika-export`, or a part "
            "of one; copy the whole folder or export again"
        )
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(metadata, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): copy the whole folder again, or export again"
        ) from None
    if metadata.get("format_version") != METADATA_FORMAT_VERSION:
        raise ValueError(
            f"{path} has format {metadata.get('format_version')}, this program reads "
            f"{METADATA_FORMAT_VERSION}: use the release that exported it, or export again"
        )
    return metadata


def generate(
    model: Model, request: Request, out: str | os.PathLike, with_picture: bool = False
) -> Iterator[Report]:
    """Writes the samples of a request one after the other.

    Args:
      model: exported model.
      request: what to make.
      out: .wav or .flac file; several samples get -0, -1, … before the suffix.
      with_picture: also write a log-mel picture beside each file, .png.

    Yields:
      A report of each file when it is written. Ctrl-C ends the file that is being written; what
      it holds stays, its report says so, and no other follows.

    Raises:
      ValueError: the suffix is unknown, or the model is not told what it has to be.
      KeyboardInterrupt: the user ended it before there was anything to keep.
    """
    controls = signals.parse_all(request.told, model.config.conditioning.signals)
    for index, path in enumerate(_paths(pathlib.Path(out), request.n_samples)):
        report = _write_sample(model, request, controls, index, path)
        if with_picture:
            _draw_picture(path)
        yield report
        if not report.is_complete:
            return


def _paths(out: pathlib.Path, n_samples: int) -> list[pathlib.Path]:
    if out.suffix.lower() not in audio_io.WRITABLE_FORMATS:
        known = " or ".join(audio_io.WRITABLE_FORMATS)
        raise ValueError(f"cannot write {out}: the suffix must be {known}")
    if n_samples == 1:
        return [out]
    return [out.with_stem(f"{out.stem}-{index}") for index in range(n_samples)]


def _write_sample(
    model: Model,
    request: Request,
    controls: Sequence[signals.Control],
    index: int,
    path: pathlib.Path,
) -> Report:
    """Streams one sample to its file."""
    rate_hz = model.config.audio.sample_rate_hz
    n_samples = max(1, round(request.seconds * rate_hz))
    n_written, peak, energy, start = 0, 0.0, 0.0, time.perf_counter()
    chunks = model.stream((request.seed, index), request.truncation, controls, n_samples)
    is_complete = False
    try:
        writer = audio_io.AudioWriter(path, rate_hz, expected_n_samples=n_samples)
        with writer, _progress(request, path) as bar:
            for chunk in chunks:
                writer.write(chunk)
                n_written += len(chunk)
                peak = max(peak, float(np.abs(chunk).max()))
                energy += float(np.sum(np.square(chunk, dtype=np.float64)))
                bar.update(round(n_written / rate_hz, 1) - bar.n)
        is_complete = True
    except KeyboardInterrupt:
        if not n_written:
            raise
    return Report(
        path=path,
        duration_seconds=n_written / rate_hz,
        elapsed_seconds=time.perf_counter() - start,
        peak=peak,
        rms=math.sqrt(energy / max(1, n_written * N_CHANNELS)),
        is_complete=is_complete,
    )


def _progress(request: Request, path: pathlib.Path) -> tqdm.tqdm:
    total = round(request.seconds, 1)
    return tqdm.tqdm(total=total, unit=" s of audio", desc=path.name, dynamic_ncols=True)


def _draw_picture(path: pathlib.Path) -> None:
    """Draws the file, read back, so that memory does not grow with a long piece."""
    blocks, n_seconds = [], 0.0
    for block in audio_io.read_blocks(path):
        blocks.append(block.samples)
        n_seconds += block.duration_seconds
        if n_seconds >= _PICTURE_MAX_SECONDS:
            break
    rate_hz = block.sample_rate_hz
    waveform = np.concatenate(blocks)[: _PICTURE_MAX_SECONDS * rate_hz]
    figures.save_picture(path.with_suffix(".png"), waveform, rate_hz, path.name)
