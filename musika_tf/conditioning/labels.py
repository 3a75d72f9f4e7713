"""Labels: CSV files beside waveform shards, one a signal, that tell its value along each source.

    labels-tempo_bpm.csv            file,time_seconds,value         a curve: linear between points,
                                    a.ogg,0,128.2                   held before the first and after
                                                                    the last; one row: a constant
    labels-note_density.csv         file,time_seconds               events: their density is the
                                    a.ogg,0.144                     value, see note_density.py
                                    a.ogg,0.532

    labels-beats.csv                file,time_seconds,value         positions in beats, which rise:
                                    a.ogg,0,-0.3                    linear between points, and the
                                    a.ogg,182.5,412.9               first and last lines go on
                                    b.ogg,0,nan                     it has no beat

`file` is the name of a source in the shards, values are in user units. A single row `nan` says that
a file has no such value: what is trained with it leaves the file out. A column `confidence` may
follow; it is for people.
"""

from __future__ import annotations

import csv
import io
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from musika_tf.conditioning import note_density, timeline
from musika_tf.signals import BEATS, require_name

# Of labels in latent shards.
_LARGEST = float(np.finfo(np.float32).max)

_COLUMNS = (
    ("time_seconds", "value"),
    ("time_seconds", "value", "confidence"),
    ("time_seconds",),
    ("time_seconds", "confidence"),
)


def file_name(signal_name: str) -> str:
    """Name of a signal's label file in a shard folder."""
    return f"labels-{signal_name}.csv"


def read_all(data_dir: str | os.PathLike) -> dict[str, Labels]:
    """All label files of a shard folder, by the names of their signals.

    Raises:
      ValueError: a file is damaged, or called as no signal can be.
    """
    paths = sorted(pathlib.Path(data_dir).glob(file_name("*")))
    by_name = {path.stem.removeprefix("labels-"): path for path in paths}
    return {name: Labels.read(name, path) for name, path in by_name.items()}


class Labels:
    """Labels of one signal for all files; read them with `Labels.read`."""

    def __init__(
        self,
        signal_name: str,
        columns: Sequence[str],
        tables: Mapping[str, np.ndarray],
        origin: str,
    ):
        """Sorts labels.

        Args:
          signal_name: of what they are; beats are no curve as others are.
          columns: 'time_seconds', then 'value' if it is a curve, then perhaps 'confidence'.
          tables: of each file [n_rows, len(columns)], finite, or a single row with the value NaN.
          origin: where they come from, for messages.

        Raises:
          ValueError: a curve has two values at the same time or NaN beside others, or beats are no
            curve or do not rise from point to point.
        """
        self._origin, self._signal_name = origin, signal_name
        self.columns, self.is_events = tuple(columns), "value" not in columns
        self._is_clock = signal_name == BEATS
        if self._is_clock and self.is_events:
            raise ValueError(
                f"{origin}: beats need a value: the columns must be file,time_seconds,value"
            )
        filled = {as_stored(file): table for file, table in tables.items() if len(table)}
        self._tables = {file: self._sorted(file, table) for file, table in filled.items()}

    @classmethod
    def read(cls, signal_name: str, path: str | os.PathLike) -> Labels:
        """Reads the label file of a signal.

        Raises:
          ValueError: no such file, something in it is no label, or no signal can be called so;
            names file, line and what is wrong.
        """
        try:
            require_name(signal_name)
            text = pathlib.Path(path).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read labels from {path}: {error}") from error
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            columns, rows = _parse(reader)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}, line {max(1, reader.line_num)}: {error}") from error
        tables = {file: np.array(rows[file]) for file in rows}
        return cls(signal_name, columns, tables, str(path))

    def _sorted(self, file: str, table: np.ndarray) -> np.ndarray:
        table = np.asarray(table, np.float64)
        table = table[np.argsort(table[:, 0], kind="stable")]
        if not self.is_events:
            self._require_curve(f"{self._origin}: {file!r}", *table.T[:2])
        return table

    def _require_curve(self, what: str, times: np.ndarray, values: np.ndarray) -> None:
        twice = np.flatnonzero(np.diff(times) == 0)
        if len(twice):
            raise ValueError(
                f"{what} has two values at {times[twice[0]]:g} s; a curve has one at a time"
            )
        is_unknown = np.isnan(values)
        if is_unknown.any():
            if len(values) > 1:
                raise ValueError(f"{what} has nan beside other values; it must be its only row")
        elif self._is_clock and not (len(values) > 1 and np.all(np.diff(values) > 0)):
            raise ValueError(
                f"{what} must have two points or more, with beats that rise from each to the next; "
                "or the single row 0,nan if it has no steady beat"
            )

    @property
    def files(self) -> list[str]:
        """Names of all files that have labels, as they are stored."""
        return list(self._tables)

    def of(self, file: str) -> np.ndarray:
        """Labels of one file, sorted by time.

        Returns:
          float64 [n, 2] (time in seconds, value) of a curve, n ≥ 1, of one without a value a single
          NaN; [n] (times in seconds) of events, n = 0 for a file that has none.

        Raises:
          ValueError: the labels are a curve, and have no row for this file.
        """
        if not self.is_events:
            self.require([file])
            return self._tables[as_stored(file)][:, :2]
        return self._tables.get(as_stored(file), np.zeros((0, 1)))[:, 0]

    def values(
        self, file: str, times_seconds: np.ndarray, max_onsets_per_second: float
    ) -> np.ndarray:
        """Value of the signal of one file at these times: float32 [n], in user units.

        Events have their density, so scaled that `max_onsets_per_second` is 1. NaN everywhere in a
        file that has no value. Raises ValueError as `of` does.
        """
        points = self.of(file)
        if self.is_events:
            density = note_density.onsets_per_second(points, times_seconds)
            values = note_density.scale(density, max_onsets_per_second)
        else:
            values = self._lines(times_seconds, *points.T)
        return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)

    def _lines(self, at: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
        return (timeline.gone_on if self._is_clock else np.interp)(at, times, values)

    def require(self, files: Sequence[str]) -> None:
        """Raises ValueError if these files cannot all be given their value.

        A curve must have a row for each. A file without events is one where nothing happens, but
        where all are without, the labels are those of other files.
        """
        self._require(files, len(files) - 1 if self.is_events else 0)

    def require_some(self, files: Sequence[str]) -> None:
        """Raises ValueError if there is a row for none of these files."""
        self._require(files, len(files) - 1)

    def _require(self, files: Sequence[str], max_n_missing: int) -> None:
        missing = [file for file in map(as_stored, files) if file not in self._tables]
        if len(missing) > max_n_missing:
            there = f", such as {self.files[0]!r}" if self._tables else ""
            raise ValueError(
                f"{self._origin} has no row for {len(missing)} of {len(files)} files, such as "
                f"{missing[0]!r}; it has rows for {len(self._tables)}{there}: its column 'file' "
                "must name files as they are named in the shards, by their path below the audio "
                "folder"
            )

    def only(self, files: Iterable[str]) -> Labels:
        """The labels of these files alone."""
        wanted = set(map(as_stored, files))
        return self._with({file: self._tables[file] for file in self.files if file in wanted})

    def split(self, file: str, end_name: str, seconds: float) -> Labels:
        """Labels after a file was cut in two, so many seconds from its beginning. The first part
        keeps its name; if the second has labels already nothing is changed.
        """
        file, end_name = as_stored(file), as_stored(end_name)
        if file not in self._tables or end_name in self._tables:
            return self
        first, end = self._parts(self._tables[file], seconds)
        shift = np.eye(1, len(self.columns))[0] * seconds
        return self._with(self._tables | {file: first, end_name: end - shift})

    def _parts(self, table: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows before a cut and after it, both still in the time of the whole."""
        times = table[:, 0]
        is_first = times < seconds
        if self.is_events:
            return table[is_first], table[~is_first]
        if np.isnan(table[0, 1]):
            return table, np.insert(table[:, 1:], 0, seconds, axis=1)
        # The value at the cut belongs to both parts, and each part of a clock needs two points.
        begin, later = ([0.0], [seconds + 1.0]) if self._is_clock else ([], [])
        first = np.union1d([*begin, seconds], times[is_first])
        end = np.union1d([seconds, *later], times[~is_first])
        return self._rows(table, first), self._rows(table, end)

    def _rows(self, table: np.ndarray, at: np.ndarray) -> np.ndarray:
        columns = [self._lines(at, table[:, 0], column) for column in table.T[1:]]
        return np.stack([at, *columns], axis=1)

    def _with(self, tables: Mapping[str, np.ndarray]) -> Labels:
        return Labels(self._signal_name, self.columns, tables, self._origin)

    def to_csv(self) -> str:
        """The text of the label file, sorted by file, then time; every number in full."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", *self.columns])
        for file, table in sorted(self._tables.items()):
            writer.writerows([file, *row] for row in table.tolist())
        return text.getvalue()


def _parse(rows: Iterator[list[str]]) -> tuple[list[str], dict[str, list[list[float]]]]:
    """Columns and rows by file of a label file. Raises ValueError that says what is wrong."""
    first, *columns = next(rows, [""])
    if first != "file":
        raise ValueError(f"the header begins with {first!r}; it must begin with 'file'")
    if tuple(columns) not in _COLUMNS:
        raise ValueError(
            f"the columns are file,{','.join(columns)}; they must be file,time_seconds,value for a "
            "curve or file,time_seconds for events, in this order, either perhaps with confidence "
            "after it"
        )
    by_file: dict[str, list[list[float]]] = {}
    for row in rows:
        if row:
            if len(row) != 1 + len(columns):
                raise ValueError(f"{len(row)} fields; the header has {1 + len(columns)}")
            file, *words = row
            if not file:
                raise ValueError("the name of the file is empty")
            numbers = [_number(word, name) for word, name in zip(words, columns, strict=True)]
            by_file.setdefault(file, []).append(numbers)
    return columns, by_file


def _number(word: str, column: str) -> float:
    try:
        number = float(word)
    except ValueError:
        raise ValueError(f"{column} is {word!r}; it must be a number") from None
    is_unknown = column == "value" and math.isnan(number)
    if not (math.isfinite(number) or is_unknown) or (column == "time_seconds" and number < 0):
        least = {"time_seconds": " and not negative", "value": ", or nan"}.get(column, "")
        raise ValueError(f"{column} is {word}; it must be finite{least}")
    return number


def as_stored(text: str) -> str:
    """Text as files and terminals take it: what is no UTF-8 in a name is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
