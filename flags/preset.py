"""`--preset=NAME`: what a file of flags/presets says, whatever the working directory is.

A preset, and any `--flagfile`, may begin with the `--preset` whose values it changes. absl reads
nested flagfiles from the working directory alone, so presets are put in place before it parses.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

from absl import flags

_FOLDER = pathlib.Path(__file__).with_name("presets")
NAMES = tuple(sorted(path.stem for path in _FOLDER.glob("*.flags")))

flags.DEFINE_enum(
    "preset",
    None,
    NAMES,
    "System and training to begin with: the flags of flags/presets/NAME.flags stand in this place, "
    "so that flags that follow change them.",
)


def set_defaults(name: str) -> None:
    """Makes what a preset says the defaults: what holds where the user and a run say nothing."""
    for word in expand([f"--preset={name}"]):
        flag, _, value = word.removeprefix("--").partition("=")
        flags.FLAGS.set_default(flag, value)


def expand(words: Sequence[str]) -> list[str]:
    """Words of a command line with what they name, by `--preset` or `--flagfile`, in its place.

    Raises:
      ValueError: there is no such preset.
      absl.flags.Error: a flagfile cannot be read.
    """
    expanded = []
    left = iter(flags.FLAGS.read_flags_from_files(words, force_gnu=False))
    for word in left:
        if match := re.fullmatch("--?preset(=.*)?", word):
            name = match[1][1:] if match[1] else next(left, "")
            if name not in NAMES:
                raise ValueError(
                    f"--preset={name} must be one of {', '.join(NAMES)}; a file of your own is "
                    "given by --flagfile"
                )
            expanded += expand([f"--flagfile={_FOLDER / name}.flags"])
        else:
            expanded.append(word)
    return expanded
