"""Flags that name a file or folder; a leading `~` is the home folder, however the flag is given.

Most shells replace `~` only where a word begins: neither in `--data_dir=~/data` nor in a flagfile.
A model is also given by the name of weights that ship.
"""

from __future__ import annotations

import os

from absl import flags

from musika_tf.runs import shipped

# A flag defined here belongs to the module that called: `--help` shows it there.
flags.disclaim_key_flags()


class _PathParser(flags.ArgumentParser):
    """Parses `~/data` to `/home/me/data`."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)


class _ModelParser(_PathParser):
    """Parses `piano` to the folder of the weights of that name, too."""

    def parse(self, argument: str) -> str:
        return str(shipped.find(super().parse(argument)))


def define(
    name: str, help_text: str, *, required: bool = False, default: str | None = None
) -> flags.FlagHolder:
    """Defines a flag that takes the path of a file or folder; None where it has no default."""
    return _define(_PathParser(), name, help_text, required, default)


def define_model(name: str, help_text: str, *, required: bool = False) -> flags.FlagHolder:
    """Defines a flag that takes the folder of a run or model, or the name of weights that ship."""
    return _define(_ModelParser(), name, help_text, required, None)


def _define(parser, name, help_text, required, default) -> flags.FlagHolder:
    serializer = flags.ArgumentSerializer()
    return flags.DEFINE(parser, name, default, help_text, serializer=serializer, required=required)


def define_models(name: str, help_text: str) -> flags.FlagHolder:
    """Defines such a flag that may be given several times; the default is none."""
    serializer = flags.ArgumentSerializer()
    return flags.DEFINE_multi(_ModelParser(), serializer, name, [], help_text)
