"""The presets that benchmarks measure."""

from __future__ import annotations

import copy
import pathlib

from absl import flags

from flags import system, training  # noqa: F401, what presets say

# From the root of the repository, where benchmarks are run.
_FLAGFILES = pathlib.Path("flags", "presets")


def flag_values(preset: str) -> flags.FlagValues:
    """What the flags say under a preset; those of the program keep what its user gave."""
    values = copy.deepcopy(flags.FLAGS)
    values.unparse_flags()
    values(["benchmark", f"--flagfile={_FLAGFILES / preset}.flags"])
    return values
