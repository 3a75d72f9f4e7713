"""Flags of the latent coordinate system and the latent GAN, one a field of `GanConfig`."""

from __future__ import annotations

from flags import _sections
from musika_tf.config import NORMALISATIONS, GanConfig

config = _sections.define(
    GanConfig,
    choices={"normalisation": NORMALISATIONS},
    anchor_depth="Dimension of an anchor, and so of every coordinate between two anchors.",
    style_depth="Dimension of the style vector that a whole piece shares.",
    seq_len="Length of a patch in level-2 latents: half of a training example, and half of what "
    "lies between two anchors.",
    normalisation="What the generator's features are normalised over: step, all channels of a "
    "step, so that patches are windows on one endless computation; or patch, all steps of a patch, "
    "each made on its own, as in the paper.",
    generator_widths="Channels of the generator at each resolution: coarsest first, each next one "
    "at twice the rate, the last one at --seq_len steps.",
    latent_discriminator_widths="Channels of the discriminator on latents at each resolution: "
    "full rate first, each next one at half the rate.",
    dense_logit="Whether the discriminator on latents has a logit that sees all steps beside those "
    "that see a part of them.",
    mid_side="Whether the discriminator and the estimator see mid and side in place of left and "
    "right.",
)
