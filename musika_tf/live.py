"""A run or released weights in place of an exported model: the same music without an export."""

from __future__ import annotations

import os
import pathlib
import time

import tensorflow as tf

from musika_tf import generation, synthesis
from musika_tf.config import N_CHANNELS
from musika_tf.training import stages


def open_model(model_dir: str | os.PathLike, jit_compile: bool = False) -> generation.Model:
    """The exported model in a folder, or else the networks of the run that it is.

    Raises:
      ValueError: it is neither, or not trained yet.
    """
    if stages.saved_config(model_dir) is not None:
        return RunModel(model_dir, jit_compile)
    return generation.Model(model_dir, jit_compile)


class RunModel(generation.Model):
    """The newest networks of a run.

    Args:
      run_dir: run with a trained autoencoder and GAN, or what `musika-release` made of one.
      jit_compile: compile the networks with XLA, once for every length of chunk.

    Raises:
      ValueError: no run, or a stage was not trained yet.
    """

    def __init__(self, run_dir: str | os.PathLike, jit_compile: bool = False):
        self.path = pathlib.Path(run_dir)
        synthesizer = synthesis.load(run_dir)
        self.config = synthesizer.config
        changed = stages.checkpoint_of(run_dir, "gan").stat().st_mtime
        self.metadata = {
            "weights_sha256": synthesizer.weights_sha256(),
            "created_utc": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(changed)),
            "training": stages.training_provenance(run_dir),
        }
        audio = self.config.audio

        @tf.function(jit_compile=jit_compile, reduce_retracing=not jit_compile)
        def latents(coordinates, style, conditioning=None):
            return {"latents": synthesizer.latents(coordinates, style, conditioning)}

        @tf.function(
            jit_compile=jit_compile,
            # One trace for chunks of all lengths.
            input_signature=[
                tf.TensorSpec([None, None, self.config.stereo_latent_depth], name="latents"),
                tf.TensorSpec([None, audio.overlap_size, N_CHANNELS], name="overlap"),
            ],
        )
        def decode(latents, overlap):
            waveform, overlap = synthesizer.decode(latents, overlap)
            return {"waveform": waveform, "overlap": overlap}

        self._latents, self._decode = latents, decode
