"""Music of a trained model, chunk after chunk in constant memory, without end.

A model is an exported SavedModel, a run or released weights. What a piece is drawn from is drawn
here, its conditioning is read or drawn here, and the networks do the rest:

    anchor            0               1               2               3         drawn when needed
    patch             |   0   |   1   |   2   |   3   |   4   |   5   |   …
    conditioning      a value a latent step
    latents, decode   from one anchor to the next; the overlap goes into what follows
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning.controls import Control
from musika_tf.config import N_CHANNELS, Config, GanConfig
from musika_tf.networks import coordinates
from musika_tf.runs.run import Run

# Beside saved_model.pb: what the model is.
METADATA_FILE = "metadata.json"
METADATA_FORMAT_VERSION = 1
# From one anchor to the next.
_N_PATCHES = 2

# Takes tensors by name and gives tensors by name, as a signature of the exported model does.
Signature = Callable[..., Mapping[str, tf.Tensor]]


class Player:
    """A trained model that plays; `open_player` makes one of a folder.

    Args:
      path: folder that the model comes from.
      config: the system.
      metadata: of the weights `weights_sha256`, `created_utc` and `training`, the step and flags of
        each stage; of an exported model all that its metadata.json says.
      latents: coordinates, style and, of a conditional system, conditioning → latents.
      decode: latents of whole excerpts and overlap → waveform and overlap.
    """

    def __init__(
        self,
        path: pathlib.Path,
        config: Config,
        metadata: Mapping[str, Any],
        latents: Signature,
        decode: Signature,
    ):
        self.path, self.config, self.metadata = path, config, metadata
        self._latents, self._decode = latents, decode

    def latents(
        self, patch: tf.Tensor, style: tf.Tensor, conditioning: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Float32 [B, seq_len, stereo_latent_depth] of one patch a row.

        Args:
          patch: coordinates, float32 [B, seq_len, anchor_depth].
          style: float32 [B, style_depth].
          conditioning: float32 [B, seq_len, n_signals] in user units; None: it is unconditional.
        """
        inputs = {"coordinates": patch, "style": style}
        if conditioning is not None:
            inputs["conditioning"] = conditioning
        return self._latents(**inputs)["latents"]

    def decode(self, latents: tf.Tensor, overlap: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Latents of whole excerpts → waveform [B, n_samples, 2] in [-1, 1] and next overlap."""
        outputs = self._decode(latents=latents, overlap=overlap)
        return outputs["waveform"], outputs["overlap"]

    def stream(
        self,
        seed: tuple[int, int],
        truncation: float,
        controls: Sequence[Control] = (),
        n_samples: int | None = None,
    ) -> Iterator[np.ndarray]:
        """A piece, chunk after chunk, each computed when it is asked for.

        A chunk goes from anchor to anchor, but for the first ones: they begin with a single
        excerpt, so that there is something to hear as soon as can be, and double until the second
        anchor is reached.

        Args:
          seed: two integers from 0 to 2^31 - 1.
          truncation: above 0.
          controls: one a signal of the model, as `controls.parse_all` gives.
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
        self, seed: tuple[int, int], truncation: float, controls: Sequence[Control]
    ) -> Iterator[np.ndarray]:
        conditioning, chunk_sizes = self._conditioning(seed, controls), self._chunk_sizes()
        seed, truncation = tf.constant([seed], tf.int32), tf.constant([truncation], tf.float32)
        overlap = tf.zeros([1, self.config.audio.overlap_size, N_CHANNELS])
        for index in itertools.count():
            patches, style = _draw(self.config.gan, seed, tf.constant(index), truncation)
            latents = self.latents(patches, style, next(conditioning))
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
        self, seed: tuple[int, int], controls: Sequence[Control]
    ) -> Iterator[tf.Tensor | None]:
        """Of each pair of patches, [2, seq_len, n_signals]; None: the system is unconditional."""
        if not controls and not self.config.conditioning.signals:
            return itertools.repeat(None)
        shape = [_N_PATCHES, self.config.gan.seq_len, -1]
        n_steps = shape[0] * shape[1]
        return (
            tf.reshape(controls_lib.values(controls, self.config, seed, start, n_steps), shape)
            for start in itertools.count(step=n_steps)
        )


@tf.function(reduce_retracing=True)
def _draw(
    sizes: GanConfig, seed: tf.Tensor, index: tf.Tensor, truncation: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Coordinates [2, seq_len, anchor_depth] after anchor `index`, and the style, [2, style_depth].

    Traced, because the draws are many small operations: 20 ms one by one, 1 ms together.
    """
    patches, style = coordinates.draw_patches(sizes, seed, index, 2, truncation)
    return patches[0], tf.repeat(style, _N_PATCHES, axis=0)


def open_player(model_dir: str | os.PathLike, jit_compile: bool = False) -> Player:
    """The player of a folder.

    Args:
      model_dir: an exported version, or a folder of versions, of which the newest is taken; or a
        run with a trained autoencoder and GAN, or what `musika-release` made of one.
      jit_compile: compile the networks with XLA, once for every length of chunk.

    Raises:
      ValueError: it is none of these, of another format, or not trained yet.
    """
    run = Run(model_dir)
    if run.saved_config is not None:
        return _player_of_run(run, jit_compile)
    return _player_of_saved_model(find_version(model_dir), jit_compile)


# Exported models


def _player_of_saved_model(path: pathlib.Path, jit_compile: bool) -> Player:
    metadata = _read_metadata(path)
    config = Config.from_json(json.dumps(metadata.get("config")))
    loaded = tf.saved_model.load(str(path))

    def signature(name: str) -> Signature:
        # Asked of the model every time: it holds the weights, and its signatures only weakly.
        def call(**inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
            return loaded.signatures[name](**inputs)

        return tf.function(call, jit_compile=True) if jit_compile else call

    return Player(path, config, metadata, signature("latents"), signature("decode"))


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


# Runs and released weights


def _player_of_run(run: Run, jit_compile: bool) -> Player:
    synthesizer = run.synthesizer()
    config = synthesizer.config
    changed = time.gmtime(run.checkpoint("gan").stat().st_mtime)
    metadata = {
        "weights_sha256": synthesizer.weights_sha256(),
        "created_utc": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", changed),
        "training": run.provenance(),
    }

    @tf.function(jit_compile=jit_compile, reduce_retracing=not jit_compile)
    def latents(coordinates, style, conditioning=None):
        return {"latents": synthesizer.latents(coordinates, style, conditioning)}

    @tf.function(
        jit_compile=jit_compile,
        # One trace for chunks of all lengths.
        input_signature=[
            tf.TensorSpec([None, None, config.stereo_latent_depth], name="latents"),
            tf.TensorSpec([None, config.audio.overlap_size, N_CHANNELS], name="overlap"),
        ],
    )
    def decode(latents, overlap):
        waveform, overlap = synthesizer.decode(latents, overlap)
        return {"waveform": waveform, "overlap": overlap}

    return Player(run.folder, config, metadata, latents, decode)
