"""Flags that name a file or folder; a leading `~` is the home folder, however the flag is given.

Most shells replace `~` only where a word begins: neither in `--data_dir=~/data` nor in a flagfile.
"""

from __future__ import annotations

import os

from absl import flags

# A flag defined here belongs to the module that called: `--help` shows it there.
flags.disclaim_key_flags()


class _PathParser(flags.ArgumentParser):
    """Parses `~/data` to `/home/me/data`."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)

    def flag_type(self) -> str:
        return "path"


def define(
    name: str, help_text: str, *, required: bool = False, default: str | None = None
) -> flags.FlagHolder:
    """Defines a flag that takes the path of a file or folder; None where it has no default."""
    serializer = flags.ArgumentSerializer()
    return flags.DEFINE(
        _PathParser(), name, default, help_text, serializer=serializer, required=required
    )


def define_multi(name: str, help_text: str) -> flags.FlagHolder:
    """Defines a flag that takes a path and may be given several times; the default is none."""
    serializer = flags.ArgumentSerializer()
    return flags.DEFINE_multi(_PathParser(), serializer, name, [], help_text)
