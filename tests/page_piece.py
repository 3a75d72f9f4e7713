"""The piece of the page's tests, and the Player's music of it."""

from __future__ import annotations

import numpy as np

from musika_tf.conditioning import controls
from musika_tf.player import Player

RATE_HZ = 22_050


def music(player: Player, n_samples: int, start_seconds: float = 0.0) -> np.ndarray:
    """Seed (5, 0), truncation 2, note density 0.5, tempo 120."""
    asked = [controls.Constant(0.5), controls.Beats(controls.Constant(120.0))]
    return np.concatenate(list(player.stream((5, 0), 2.0, asked, n_samples, start_seconds)))
