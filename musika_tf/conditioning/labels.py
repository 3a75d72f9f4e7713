"""Labels: CSV files beside waveform shards, one a signal, that tell its value along each source.

    labels-tempo_bpm.csv            file,time_seconds,value         a curve: linear between points,
                                    a.ogg,0,128.2                   held before the first and after
                                                                    the last; one row: a constant
    labels-note_density.csv         file,time_seconds               events: their density is the
                                    a.ogg,0.144                     value, see note_density.py
                                    a.ogg,0.532

`file` is the name of a source in the shards, values are in user units. A column `confidence` may
follow; it is for people.

Where the steps of latents lie in time: a latent is computed from the STFT frames that begin in its
own step, and the last of them reaches overlap_size = window_size - hop_size samples further. So the
centre of what it sees, and of what is decoded from it, is overlap_size / 2 later than the middle of
its own samples. Drawn with steps of 4 hops and windows of 4:

    step 0          step 1          step 2          of a padded file, or of audio as it is decoded
    |---|---|---|---|---|---|---|---|---|---|---|---|
    [-- frame  0 --]
        [-- frame  1 --]
            [-- frame  2 --]
                [-- frame  3 --]    the last one of step 0, which sees step + overlap_size samples
                  ^                 and so has its centre at (step + overlap_size) / 2

`steps_first_sample` makes of that the first sample of step 0, for files and for decoded audio.
"""

from __future__ import annotations

import csv
import io
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from musika_tf.conditioning import note_density
from musika_tf.config import AudioConfig, Signal

_COLUMNS = (
    ("time_seconds", "value"),
    ("time_seconds", "value", "confidence"),
    ("time_seconds",),
    ("time_seconds", "confidence"),
)


def any_signal(name: str) -> Signal:
    """A signal with all values that labels can hold. Raises ValueError if none can be called so."""
    largest = float(np.finfo(np.float32).max)
    return Signal(name, "as labelled", -largest, largest, "step")


def file_name(signal_name: str) -> str:
    """Name of a signal's label file in a shard folder."""
    return f"labels-{signal_name}.csv"


def read_all(data_dir: str | os.PathLike) -> dict[Signal, Labels]:
    """All label files of a shard folder, each with `any_signal` of its name.

    Raises:
      ValueError: a file is damaged, or called as no signal can be.
    """
    found = {}
    prefix, suffix = file_name("*").split("*")
    for path in sorted(pathlib.Path(data_dir).glob(file_name("*"))):
        try:
            signal = any_signal(path.name.removeprefix(prefix).removesuffix(suffix))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        found[signal] = Labels.read(path)
    return found


class Labels:
    """Labels of one signal for all files; read them with `Labels.read`."""

    def __init__(self, columns: Sequence[str], tables: Mapping[str, np.ndarray], origin: str):
        """Sorts labels.

        Args:
          columns: 'time_seconds', then 'value' if it is a curve, then perhaps 'confidence'.
          tables: of each file [n_rows, len(columns)], finite.
          origin: where they come from, for messages.

        Raises:
          ValueError: other columns, or a curve has two values at the same time.
        """
        _require_columns(columns)
        self.columns = tuple(columns)
        self.is_events = "value" not in self.columns
        self._origin = origin
        filled = {_as_stored(file): table for file, table in tables.items() if len(table)}
        self._tables = {file: self._sorted(file, table) for file, table in filled.items()}

    @classmethod
    def read(cls, path: str | os.PathLike) -> Labels:
        """Reads a label file.

        Raises:
          ValueError: no such file, or something in it is no label; names file, line and what is
            wrong.
        """
        try:
            text = pathlib.Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read labels from {path}: {error}") from error
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            columns, rows = _parse(reader)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}, line {max(1, reader.line_num)}: {error}") from error
        return cls(columns, {file: np.array(rows[file]) for file in rows}, str(path))

    def _sorted(self, file: str, table: np.ndarray) -> np.ndarray:
        table = np.asarray(table, np.float64)
        table = table[np.argsort(table[:, 0], kind="stable")]
        twice = np.flatnonzero(np.diff(table[:, 0]) == 0)
        if len(twice) and not self.is_events:
            raise ValueError(
                f"{self._origin}: {file!r} has two values at {table[twice[0], 0]:g} s; a curve "
                "has one at a time"
            )
        return table

    @property
    def files(self) -> list[str]:
        """Names of all files that have labels, as they are stored."""
        return list(self._tables)

    def of(self, file: str) -> np.ndarray:
        """Labels of one file, sorted by time.

        Returns:
          float64 [n, 2] (time in seconds, value) of a curve, n ≥ 1; [n] (times in seconds) of
          events, n = 0 for a file that has none.

        Raises:
          ValueError: the labels are a curve, and have no row for this file.
        """
        if not self.is_events:
            self.require([file])
            return self._tables[_as_stored(file)][:, :2]
        return self._tables.get(_as_stored(file), np.zeros((0, 1)))[:, 0]

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
        missing = [file for file in map(_as_stored, files) if file not in self._tables]
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
        wanted = set(map(_as_stored, files))
        return self._with({file: self._tables[file] for file in self.files if file in wanted})

    def split(self, file: str, end_name: str, seconds: float) -> Labels:
        """Labels after a file was cut in two.

        Args:
          file: name of the file, and of its first part.
          end_name: name of the second part. If that has labels already nothing is changed.
          seconds: where it was cut.
        """
        file, end_name = _as_stored(file), _as_stored(end_name)
        if file not in self._tables or end_name in self._tables:
            return self
        table = self._tables[file]
        first, end = table[table[:, 0] < seconds], table[table[:, 0] >= seconds]
        if not self.is_events:
            # The value at the cut belongs to both parts.
            cut = [[seconds, *(np.interp(seconds, table[:, 0], c) for c in table.T[1:])]]
            first = np.concatenate([first, cut]) if len(end) else first
            end = np.concatenate([cut, end[end[:, 0] > seconds]])
        shift = np.eye(1, len(self.columns))[0] * seconds
        return self._with(self._tables | {file: first, end_name: end - shift})

    def _with(self, tables: Mapping[str, np.ndarray]) -> Labels:
        return Labels(self.columns, tables, self._origin)

    def to_csv(self) -> str:
        """The text of the label file, sorted by file, then time; every number in full."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", *self.columns])
        for file, table in sorted(self._tables.items()):
            writer.writerows([file, *row] for row in table.tolist())
        return text.getvalue()


def steps_first_sample(audio: AudioConfig, n_samples_before: int) -> int:
    """Where step 0 begins, so that the middle of each step is the centre of what its latent sees.

    `n_samples_before` are those of the latents' timeline before time 0 of the labels: overlap_size
    for an encoded file (the zeros before it), 0 for audio as the decoder gives it.
    """
    return audio.overlap_size // 2 - n_samples_before


def step_centres_seconds(
    n_steps: int, step_n_samples: int, first_sample: int, sample_rate_hz: int
) -> np.ndarray:
    """Times of the middles of steps: float64 [n_steps]."""
    return (first_sample + step_n_samples * (np.arange(n_steps) + 0.5)) / sample_rate_hz


def values_at_steps(
    labels: Labels,
    file: str,
    signal: Signal,
    n_steps: int,
    step_n_samples: int,
    first_sample: int,
    n_samples: int,
    sample_rate_hz: int,
    max_onsets_per_second: float,
) -> np.ndarray:
    """Value of a signal at the middle of each latent step of a file.

    Step k is [first_sample + k·step_n_samples, first_sample + (k+1)·step_n_samples) of the file's
    samples; `steps_first_sample` says where the first one begins.

    Args:
      labels: of the signal.
      file: name of the source.
      signal: its range and rate. Of a 'piece' every step gets the mean over the file.
      n_steps, step_n_samples, first_sample: the steps.
      n_samples: length of the file.
      sample_rate_hz: of the file's samples.
      max_onsets_per_second: events per second that make a density of 1.

    Returns:
      float32 [n_steps] in user units, limited to the signal's range.

    Raises:
      ValueError: the labels are a curve, and have no row for this file.
    """
    if signal.rate == "piece":
        # Parts of the file and not the steps, some of which lie before or after it.
        step_n_samples, first_sample = n_samples / n_steps, 0
    times = step_centres_seconds(n_steps, step_n_samples, first_sample, sample_rate_hz)
    points = labels.of(file)
    if labels.is_events:
        density = note_density.onsets_per_second(points, times)
        values = note_density.scale(density, max_onsets_per_second)
    else:
        values = np.interp(times, *points.T)
    if signal.rate == "piece":
        values = np.full(n_steps, values.mean())
    return np.clip(values, signal.minimum, signal.maximum).astype(np.float32)


def _parse(rows: Iterator[list[str]]) -> tuple[list[str], dict[str, list[list[float]]]]:
    """Columns and rows by file of a label file. Raises ValueError that says what is wrong."""
    first, *columns = next(rows, [""])
    if first != "file":
        raise ValueError(f"the header begins with {first!r}; it must begin with 'file'")
    _require_columns(columns)
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


def _require_columns(columns: Sequence[str]) -> None:
    if tuple(columns) not in _COLUMNS:
        raise ValueError(
            f"the columns are file,{','.join(columns)}; they must be file,time_seconds,value for a "
            "curve or file,time_seconds for events, in this order, either perhaps with confidence "
            "after it"
        )


def _number(word: str, column: str) -> float:
    try:
        number = float(word)
    except ValueError:
        raise ValueError(f"{column} is {word!r}; it must be a number") from None
    if not math.isfinite(number) or (column == "time_seconds" and number < 0):
        least = " and not negative" if column == "time_seconds" else ""
        raise ValueError(f"{column} is {word}; it must be finite{least}")
    return number


def _as_stored(file: str) -> str:
    """A name as it stands in the text: one that is no UTF-8 is escaped there."""
    return file.encode("utf-8", "backslashreplace").decode()
