"""Write aside, then rename: what stands under its name is whole, whoever is killed meanwhile."""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

_MARK = ".unfinished-"


@contextlib.contextmanager
def written_aside(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Where to write a file or a folder that takes the place of `path` when the block ends.

    It has the same name, in a hidden folder beside `path`; the folders above are made. After an
    error that folder goes and `path` is as it was; of a killed process it stays, see
    `remove_unfinished`. A file is on the disk before it gets its name.
    """
    path = pathlib.Path(os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}{_MARK}"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as hidden:
        new = pathlib.Path(hidden, path.name)
        yield new
        if new.is_file():
            with open(new, "rb") as file:
                os.fsync(file.fileno())
        if path.is_dir():
            path.rename(pathlib.Path(hidden, f"{path.name}.old"))
        new.replace(path)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file, UTF-8."""
    with written_aside(path) as new:
        new.write_text(text, encoding="utf-8")


def remove_unfinished(folder: str | os.PathLike, name: str | None = None) -> None:
    """Removes what killed processes left in a folder, of one name or of all.

    Nobody else must be writing what has such a name.
    """
    pattern = "*" if name is None else glob.escape(name)
    for hidden in pathlib.Path(folder).glob(f".{pattern}{_MARK}*"):
        shutil.rmtree(hidden)
