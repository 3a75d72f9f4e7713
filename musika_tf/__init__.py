"""Musika in TensorFlow: fast, endless, controllable music generation.

A trained model plays, chunk after chunk, or into a file:

>>> import musika_tf
>>> player = musika_tf.open_player("weights/piano")
>>> for chunk in player.stream(seed=(1, 0), truncation=2.0, n_samples=22_050):
...     print(chunk.shape)  # left and right in [-1, 1]
(16384, 2)
(5666, 2)
>>> request = musika_tf.Request(seconds=2.0, seed=1)
>>> for report in musika_tf.generate(player, request, "piano.wav"):
...     print(report.path, report.duration_seconds)
piano.wav 2.0

What it is made of:

>>> run = musika_tf.Run("weights/piano")
>>> run.config.audio.sample_rate_hz
22050
>>> run.synthesizer().generator.count_params() > 1e6
True

The names below are loaded when they are first used: importing this package alone takes no time, and
TensorFlow waits until something plays.
"""

import importlib
from typing import Any

_MODULES = {
    "Config": "musika_tf.config",
    "Player": "musika_tf.player",
    "Request": "musika_tf.generation",
    "Run": "musika_tf.runs.run",
    "generate": "musika_tf.generation",
    "open_player": "musika_tf.player",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
