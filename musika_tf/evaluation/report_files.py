"""What an evaluation leaves in a folder, all of it or nothing, and the Markdown in it.

OUT/NAME.md      tables for people
OUT/NAME.json    every number
OUT/NAME/        pictures and audio
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import soundfile

from musika_tf import files
from musika_tf import pictures as pictures_lib
from musika_tf.conditioning import controls
from musika_tf.generation import Request

FORMAT_VERSION = 1

Column = tuple[str, str]  # title, format
# Writes into the folder of pictures and audio; returns Markdown and numbers.
Fill = Callable[[pathlib.Path], tuple[str, Mapping[str, Any]]]


def _paths(out: str | os.PathLike, name: str) -> list[pathlib.Path]:
    return [pathlib.Path(out, name + end) for end in (".md", ".json", "")]


def require_free(out: str | os.PathLike, name: str, overwrite: bool) -> None:
    """Raises ValueError if `out` holds an earlier evaluation that must not be replaced."""
    there = [path.name for path in _paths(out, name) if path.exists()]
    if there and not overwrite:
        raise ValueError(
            f"{out} has {', '.join(there)} already: name another folder, or replace them with "
            "--overwrite"
        )


def write(out: str | os.PathLike, name: str, fill: Fill) -> str:
    """Writes an evaluation over an earlier one and returns its Markdown: where its numbers are,
    everything is.

    Raises:
      ValueError: a number is NaN or infinite.
    """
    tables, numbers, folder = _paths(out, name)
    with files.written_aside(folder) as new:
        new.mkdir()
        text, values = fill(new)
        dumped = json.dumps(values, indent=1, allow_nan=False)
    files.write_text(tables, text)
    files.write_text(numbers, dumped + "\n")
    return text


def numbers(about: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """What the numbers of every evaluation begin with, `about` whatever was measured."""
    now = datetime.datetime.now(datetime.UTC)
    asked = ("seconds", "seed", "truncation", "n_pieces")
    return {
        "format_version": FORMAT_VERSION,
        "created_utc": now.isoformat(timespec="seconds"),
        **about,
        **{name: getattr(request, name) for name in asked},
    }


def command(model: str | os.PathLike, request: Request) -> str:
    """What makes the first sample of a request again."""
    given = {
        "model_dir": model,
        "seconds": f"{request.seconds:g}",
        "seed": request.seed,
        "truncation": f"{request.truncation:g}",
        "out": "music.wav",
    }
    words = [f"--{name}={value}" for name, value in given.items()]
    for name, text in request.controls.items():
        words.append(controls.word(name, text))
    return f"`musika-generate {' '.join(words)}`"


def asked(request: Request, what: str) -> str:
    """A sentence: so many of `what`, how long, of which seed."""
    return (
        f"{request.n_pieces} {what}, {request.seconds:g} s each, seed {request.seed}, "
        f"truncation {request.truncation:g}."
    )


def markdown(paragraphs: Iterable[str]) -> str:
    """A page of titles, paragraphs and tables."""
    return "\n\n".join(paragraphs) + "\n"


def table(columns: Mapping[str, Column], rows: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table; a cell is empty where a row has None or nothing under a column's name."""
    titles = [title for title, _ in columns.values()]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        cells = [(row.get(name), form) for name, (_, form) in columns.items()]
        lines.append(["" if value is None else format(value, form) for value, form in cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def named_table(
    title: str, columns: Mapping[str, Column], rows: Mapping[str, Mapping[str, Any]]
) -> str:
    """A Markdown table with the names of the rows in a first column of that title."""
    named = ({"row": name} | row for name, row in rows.items())
    return table({"row": (title, ""), **columns}, named)


def save_sample(folder: pathlib.Path, name: str, waveform: np.ndarray, sample_rate_hz: int) -> None:
    """A picture, and beside it an MP3, which every browser plays; float32 [n_samples, 2]."""
    soundfile.write(folder / f"{name}.mp3", waveform, sample_rate_hz, format="MP3")
    pictures_lib.save_picture(folder / f"{name}.png", waveform, sample_rate_hz, name)


def pictures(name: str, picture_names: Iterable[str]) -> list[str]:
    """A paragraph for each picture in the folder of an evaluation."""
    return [f"![{picture}]({name}/{picture}.png)" for picture in picture_names]
