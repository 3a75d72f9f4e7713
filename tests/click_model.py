"""A model of clicks instead of music, which are known, and settings to measure its adherence by."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning import note_density
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import ConditioningConfig, Config, Signal
from musika_tf.evaluation.adherence import Settings
from musika_tf.generation import Request
from musika_tf.signals import KNOWN_SIGNALS

RATE_HZ = 22_050
DENSITY = KNOWN_SIGNALS["note_density"]
TEMPO = dataclasses.replace(KNOWN_SIGNALS["tempo_bpm"], minimum=110.0, maximum=170.0)
# A click: noise that dies away in 20 ms.
CLICK = 0.3 * np.random.default_rng(1).normal(size=2205) * np.exp(-np.arange(2205) / 441)

Speed = Callable[[np.ndarray, tuple[int, int]], np.ndarray]


class ClickModel:
    """Stands for an exported model: clicks, as fast as requested, or as it likes.

    Args:
      config: of the model.
      speed: conditioning of a piece [n_steps, n_signals] and seed → clicks a second [n_steps].
    """

    def __init__(self, config: Config, speed: Speed):
        self.config, self._speed = config, speed
        self.path = pathlib.Path("models/clicks/3")
        self.metadata = {
            "weights_sha256": "ab" * 32,
            "created_utc": "2026-01-01T00:00:00+00:00",
            "training": {"gan": {"step": 7}},
        }
        self.n_streams = 0

    def stream(self, seed, truncation, controls, n_samples):
        self.n_streams += 1
        n_patches, n_steps = 9, self.config.gan.seq_len
        conditioning = controls_lib.values(controls, self.config, seed, 0, n_patches * n_steps)
        speed = self._speed(conditioning, seed)
        centres = centres_seconds(self.config, 0, len(speed))
        n_made = n_patches * self.config.patch_n_samples
        rate = np.interp(np.arange(n_made) / RATE_HZ, centres, speed)
        # A click each time the integral of the rate reaches a whole number.
        begins = np.flatnonzero(np.diff(np.floor(np.cumsum(rate) / RATE_HZ + 0.5)))
        waveform = np.zeros(n_made + len(CLICK), np.float32)
        for begin in begins:
            waveform[begin : begin + len(CLICK)] += CLICK
        waveform = np.repeat(waveform[:n_samples, None], 2, axis=1)
        yield from np.array_split(waveform, 2)


def obedient(conditioning, seed):
    return note_density.unscale(conditioning[:, 0], 20.0)


def with_signals(config: Config, *signals_: Signal) -> Config:
    return dataclasses.replace(config, conditioning=ConditioningConfig(signals_, 20.0))


def settings(seconds=20.0, n_pieces=2, n_walks=2, **values) -> Settings:
    request = Request(seconds=seconds, n_pieces=n_pieces, seed=5)
    return Settings(request=request, n_walks=n_walks, onset_detector="librosa", **values)
