"""What a benchmark says about where and when its numbers were measured."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from musika_tf.evaluation.machine import describe


def cpu_seconds(process: pathlib.Path) -> float:
    """That a process or a thread took so far; `process` is its folder in /proc."""
    fields = process.joinpath("stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write(path: str | None, rows: Sequence[Any], table: str = "", **more: Any) -> None:
    """Writes the machine and rows to a JSON file, if any, and a table to its name with .md."""
    if not path:
        return
    path, content = pathlib.Path(path), {"machine": describe() | more, "rows": rows}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if table:
        path.with_suffix(".md").write_text(table, encoding="utf-8")


def heading(*names: str, n_words: int) -> str:
    """The first two lines of a table in Markdown; after `n_words` columns of words come numbers."""
    rule = ["---"] * n_words + ["---:"] * (len(names) - n_words)
    return f"{line(*names)}\n{line(*rule)}\n"


def line(*cells: object) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"
