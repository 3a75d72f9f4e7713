"""Flags of the latent coordinate system and the latent GAN, one a field of `GanConfig`."""

from __future__ import annotations

from absl import flags

from flags import _sections
from musika_tf.config import GanConfig

_DEFAULT = GanConfig()

flags.DEFINE_integer(
    "anchor_depth",
    _DEFAULT.anchor_depth,
    "Dimension of an anchor, and so of every coordinate between two anchors.",
)
flags.DEFINE_integer(
    "style_depth",
    _DEFAULT.style_depth,
    "Dimension of the style vector that a whole piece shares.",
)
flags.DEFINE_integer(
    "seq_len",
    _DEFAULT.seq_len,
    "Length of a patch, which one call of the generator makes, in level-2 latents; two anchors "
    "are twice as far apart.",
)
_sections.define_int_tuple(
    "generator_widths",
    _DEFAULT.generator_widths,
    "Channels of the generator at each resolution: coarsest first, each next one at twice the "
    "rate, the last one at --seq_len steps.",
)
_sections.define_int_tuple(
    "latent_discriminator_widths",
    _DEFAULT.latent_discriminator_widths,
    "Channels of the discriminator on latents at each resolution: full rate first, each next one "
    "at half the rate.",
)


def config(
    saved: GanConfig | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> GanConfig:
    """The GAN section that the flags ask for; unset flags follow `saved` where it is given."""
    return _sections.build(GanConfig, saved, flag_values)
