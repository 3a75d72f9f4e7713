"""Flags as text that a later run takes back with `--flagfile`."""

from __future__ import annotations

import sys

from absl import flags

_OWN_PACKAGES = ("flags.", "musika_tf.", "export.")


def flags_into_string(flag_values: flags.FlagValues = flags.FLAGS) -> str:
    """The values of this project's flags, one `--name=value` a line, grouped by module.

    `FLAGS.flags_into_string` would also write absl's own flags (logging, debugger): those belong
    to the machine, not to the run.
    """
    blocks = []
    for module, module_flags in sorted(flag_values.flags_by_module_dict().items()):
        if is_own(module):
            lines = [flag.serialize() for flag in module_flags if flag.value is not None]
            title = "# the program's own" if module == sys.argv[0] else f"# {module}"
            blocks.append("\n".join([title, *sorted(lines), ""]))
    return "\n".join(blocks)


def is_own(module: str) -> bool:
    """Whether the flags that absl files under this module name are this project's."""
    # absl files the flags of a program run with `python -m` under its path, not its module name.
    return module.startswith(_OWN_PACKAGES) or module == sys.argv[0]
