"""What a benchmark says about where and when its numbers were measured."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from musika_tf.evaluation.machine import describe


def write(path: str | os.PathLike, rows: Sequence[Any], table: str = "", **more: Any) -> None:
    """Writes the machine and rows to a JSON file, and a table, if any, to its name with .md."""
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
