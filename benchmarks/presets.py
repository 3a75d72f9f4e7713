"""The presets that benchmarks measure."""

from __future__ import annotations

import copy

from absl import flags

from flags import preset as preset_flags
from flags import system, training  # noqa: F401, what presets say


def flag_values(preset: str) -> flags.FlagValues:
    """What the flags say under a preset; those of the program keep what its user gave."""
    values = copy.deepcopy(flags.FLAGS)
    values.unparse_flags()
    values(["benchmark", *preset_flags.expand([f"--preset={preset}"])])
    return values
