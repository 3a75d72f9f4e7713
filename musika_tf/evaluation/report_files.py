"""The files that an evaluation leaves in a folder, all or none of them, and Markdown tables.

OUT/NAME.md      tables for people
OUT/NAME.json    every number
OUT/NAME/        pictures and audio
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from musika_tf import files


@dataclasses.dataclass(frozen=True)
class Places:
    """Paths of an evaluation's files: a folder of pictures and audio, tables and numbers."""

    folder: pathlib.Path
    tables: pathlib.Path
    numbers: pathlib.Path

    def write(self, text: str, numbers: Mapping[str, Any]) -> None:
        """Writes tables and numbers. Raises ValueError for NaN or infinite numbers."""
        values = json.dumps(numbers, indent=1, allow_nan=False)
        self.tables.write_text(text, encoding="utf-8")
        self.numbers.write_text(values + "\n", encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class ReportFiles:
    """Names of an evaluation's files.

    Attributes:
      name: of the evaluation: `adherence`, `quality`.
    """

    name: str

    @property
    def folder(self) -> str:
        """Folder of pictures and audio."""
        return self.name

    @property
    def tables(self) -> str:
        """File of the tables."""
        return f"{self.name}.md"

    @property
    def numbers(self) -> str:
        """File of the numbers."""
        return f"{self.name}.json"

    def require_free(self, out: pathlib.Path, overwrite: bool) -> None:
        """Raises ValueError if `out` holds an earlier evaluation that must not be replaced."""
        names = (self.tables, self.numbers, self.folder)
        there = [name for name in names if (out / name).exists()]
        if there and not overwrite:
            raise ValueError(
                f"{out} has {', '.join(there)} already: name another folder, or replace them with "
                "--overwrite"
            )

    @contextlib.contextmanager
    def written_aside(self, out: pathlib.Path) -> Iterator[Places]:
        """Where to write what appears in `out` when the block has ended without an error."""
        with contextlib.ExitStack() as stack:
            # The first is renamed last: where the numbers are, everything is.
            numbers, tables, folder = (
                stack.enter_context(files.written_aside(out / name))
                for name in (self.numbers, self.tables, self.folder)
            )
            folder.mkdir()
            yield Places(folder, tables, numbers)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = (header, ["---"] * len(header), *rows)
    return [f"| {' | '.join(line)} |" for line in lines]


def optional(value: float | None, form: str) -> str:
    """A number in that format; nothing for None."""
    return "" if value is None else format(value, form)
