"""Flags of the latent coordinate system and the latent GAN, one a field of `GanConfig`."""

from __future__ import annotations

from flags import _sections
from musika_tf.config import GanConfig

config = _sections.define(
    GanConfig,
    anchor_depth="Dimension of an anchor, and so of every coordinate between two anchors.",
    style_depth="Dimension of the style vector that a whole piece shares.",
    seq_len="Length of a patch, which one call of the generator makes, in level-2 latents; two "
    "anchors are twice as far apart.",
    generator_widths="Channels of the generator at each resolution: coarsest first, each next one "
    "at twice the rate, the last one at --seq_len steps.",
    latent_discriminator_widths="Channels of the discriminator on latents at each resolution: "
    "full rate first, each next one at half the rate.",
)
