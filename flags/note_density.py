"""The flag of the scale of note density, which labels, latents and GAN have to share."""

from __future__ import annotations

from absl import flags

from musika_tf.config import ConditioningConfig

MAX_ONSETS_PER_SECOND = flags.DEFINE_float(
    "max_onsets_per_second",
    ConditioningConfig.max_onsets_per_second,
    "Note onsets per second that make a note density of 1, above 0; latents and the GAN that "
    "learns them need the same number.",
)
