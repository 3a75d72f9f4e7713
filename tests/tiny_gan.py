"""GANs of a few channels, with signals and without, and as in the paper: for tests of networks."""

from __future__ import annotations

import dataclasses

import numpy as np

from musika_tf.config import AutoencoderConfig, ConditioningConfig, Config, GanConfig, Signal
from musika_tf.signals import KNOWN_SIGNALS

TINY = Config(
    autoencoder=AutoencoderConfig(level2_latent_depth=3),
    gan=GanConfig(
        anchor_depth=6,
        style_depth=5,
        seq_len=32,
        generator_widths=(12, 10, 8, 8),
        latent_discriminator_widths=(8, 12, 12, 16),
    ),
)

TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")
CONDITIONING = ConditioningConfig((KNOWN_SIGNALS["note_density"], TEMPO))
CONDITIONAL = dataclasses.replace(TINY, conditioning=CONDITIONING)
# As in the paper.
PATCH = dataclasses.replace(
    TINY, gan=dataclasses.replace(TINY.gan, normalisation="patch", dense_logit=False)
)
CONDITIONAL_PATCH = dataclasses.replace(PATCH, conditioning=CONDITIONING)


def steady_conditioning(n, n_steps, density=0.3, tempo_bpm=128.0):
    return np.tile(np.array([density, tempo_bpm], np.float32), (n, n_steps, 1))
