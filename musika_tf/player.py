"""A trained model that plays: an exported SavedModel, a run or released weights."""

from __future__ import annotations

import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from musika_tf.conditioning.controls import Control, parse_all
from musika_tf.config import N_CHANNELS, Config
from musika_tf.runs import shipped
from musika_tf.runs.run import Run
from musika_tf.stream import Seed, Stream

# Beside saved_model.pb: what the model is.
METADATA_FILE = "metadata.json"
METADATA_FORMAT_VERSION = 2

# Takes tensors by name and gives tensors by name, as a signature of the exported model does.
Signature = Callable[..., Mapping[str, tf.Tensor]]


class Player:
    """A trained model that plays; `open_player` makes one of a folder.

    Args:
      path: folder that the model comes from.
      metadata: of the weights `weights_sha256`, `created_utc` and `training`, the step and flags of
        each stage; of an exported model all that its metadata.json says.
      latents: coordinates, style, start and, of a conditional system, conditioning → latents.
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

    def latents(self, **inputs: tf.Tensor) -> tf.Tensor:
        """Latents of a window on the line of each row; see `Synthesizer.latents`.

        Args:
          **inputs: coordinates, style and, of a conditional system, conditioning, each float32
            [B, n + 2·context, …]; start, int32 [B].

        Returns:
          float32 [B, n, stereo_latent_depth].
        """
        return self._latents(**inputs)["latents"]

    def decode(self, latents: tf.Tensor, overlap: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Latents of whole excerpts → waveform [B, n_samples, 2] in [-1, 1] and next overlap."""
        outputs = self._decode(latents=latents, overlap=overlap)
        return outputs["waveform"], outputs["overlap"]

    def stream(
        self,
        seed: Seed,
        truncation: float,
        controls: Sequence[Control] | None = None,
        n_samples: int | None = None,
        start_seconds: float = 0.0,
        max_chunk_seconds: float | None = None,
    ) -> Stream:
        """A piece, chunk after chunk, each computed when it is asked for.

        A chunk goes from anchor to anchor, but for the first ones: they begin with a single
        excerpt, so that there is something to hear as soon as can be, and double every time.

        Args:
          seed: two integers from 0 to 2^31 - 1.
          truncation: above 0.
          controls: one a signal of the model, as `controls.parse_all` gives; None: each signal
            holds the middle of its range.
          n_samples: how many to play; None: without end.
          start_seconds: where in the piece to begin, from 0 to `stream.MAX_START_SECONDS`. What
            sounds there does not depend on where it began.
          max_chunk_seconds: no chunk is longer: how soon `Stream.steer` is heard. None: from
            anchor to anchor, which is fastest.

        Raises:
          ValueError: a time is out of range; or, when the first chunk is asked for, another number
            of controls than the model has signals.
        """
        if controls is None:
            controls = parse_all({}, self.config.conditioning.signals)
        return Stream(self, seed, truncation, controls, n_samples, start_seconds, max_chunk_seconds)


def open_player(model_dir: str | os.PathLike, jit_compile: bool = False) -> Player:
    """The player of a folder.

    Args:
      model_dir: an exported version, or a folder of versions, of which the newest is taken; or a
        run with a trained autoencoder and GAN, or what `musika-release` made of one; or the name of
        weights that ship, like piano.
      jit_compile: compile the networks with XLA, once for every length of chunk.

    Raises:
      ValueError: it is none of these, of another format, or not trained yet.
    """
    model_dir = shipped.find(model_dir)
    run = Run(model_dir)
    if run.saved_config is not None:
        return _player_of_run(run, jit_compile)
    return _player_of_saved_model(find_version(model_dir), jit_compile)


# Exported models


def _player_of_saved_model(path: pathlib.Path, jit_compile: bool) -> Player:
    def signature(name: str) -> Signature:
        # Asked of the model every time: it holds the weights, and its signatures only weakly.
        def call(**inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
            return loaded.signatures[name](**inputs)

        return tf.function(call, jit_compile=True) if jit_compile else call

    # First: what is no model of ours is named before TensorFlow looks at it.
    player = player_of_version(path, signature("latents"), signature("decode"))
    loaded = tf.saved_model.load(str(path))
    return player


def player_of_version(path: pathlib.Path, latents: Signature, decode: Signature) -> Player:
    """The player of an exported version that something else has loaded; `latents` and `decode`
    call its signatures.

    Raises:
      ValueError: it is of another format, or damaged.
    """
    metadata = _read_metadata(path)
    config = Config.from_json(json.dumps(metadata.get("config")))
    return Player(path, config, metadata, latents, decode)


def find_version(model_dir: str | os.PathLike) -> pathlib.Path:
    """The folder of a version: `model_dir` itself, or the newest version in it.

    Raises:
      ValueError: there is none.
    """
    model_dir = pathlib.Path(model_dir)
    versions = (path for path in model_dir.glob("*") if path.name.isdecimal())
    for folder in (model_dir, *sorted(versions, key=lambda p: int(p.name), reverse=True)):
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
    def latents(coordinates, **inputs):
        return {"latents": synthesizer.latents(coordinates, **inputs)}

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
