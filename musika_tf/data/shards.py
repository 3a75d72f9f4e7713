"""Shards: waveforms or latents of a whole data set on disk, read at any place at once.

A shard folder holds `manifest.json` and `shard-00000.npy`, `shard-00001.npy`, ...: plain 2-D arrays
[n_rows, n_channels], each the concatenation of whole sources (one source is one audio file).

    shard-00000.npy          | source 0     | source 1 | source 2              |
    shard-00000.labels.npy   | its labels   | …        | …                     |
    rows                     0              ^ first_row of source 1            n_rows

Rows may have labels: a second array, float32 [n_rows, n_labels], one named column a signal. A row
and its labels stand at the same place of both, so that what is cropped together stays together.

The arrays are memory-mapped rather than streamed from TFRecords, because with random access batch n
is a pure function of the seed and n: resuming is exact and nothing needs a shuffle buffer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from musika_tf import files

SHARDS_VERSION = 1
SPLITS = ("train", "validation")

_MANIFEST_NAME = "manifest.json"
_DTYPES = ("int16", "float16", "float32")
# A shard is closed when it holds this many bytes: few files, yet each easy to copy.
_DEFAULT_SHARD_N_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the rows of one source lie.

    Attributes:
      name: unique name, for audio the path relative to the audio folder.
      shard: file name of the shard that holds it.
      first_row: its first row in that shard.
      n_rows: rows it has there.
      split: 'train' or 'validation'.
    """

    name: str
    shard: str
    first_row: int
    n_rows: int
    split: str


# A crop: a source, and the crop's first row counted from the beginning of that source.
Position = tuple[Source, int]


class ShardWriter:
    """Writes a shard folder source by source; use it in a `with` statement.

    Shards go to disk as they get full, in a temporary folder next to the final one. Leaving the
    `with` block normally renames it to the final name; an exception removes it.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        n_channels: int,
        dtype: Any,
        metadata: dict[str, Any],
        max_shard_rows: int | None = None,
        overwrite: bool = False,
        label_names: Sequence[str] = (),
    ):
        """Checks the request; nothing is written before the `with` block begins.

        Args:
          folder: the shard folder to make.
          n_channels: columns of every source, at least 1.
          dtype: int16 (waveforms), float16 or float32 (latents).
          metadata: JSON values that describe the rows; kept in the manifest.
          max_shard_rows: a shard that would grow longer is closed and a new one begun (only a
            single longer source exceeds it); by default as many rows as fit in 256 MiB.
          overwrite: replace an earlier shard folder of the same name.
          label_names: unique names of the labels that every row has.

        Raises:
          ValueError: a bad size or dtype, or `folder` holds something already.
        """
        self._folder = pathlib.Path(os.path.abspath(folder))
        self._dtype = np.dtype(dtype)
        if self._dtype.name not in _DTYPES:
            raise ValueError(f"dtype={self._dtype.name} must be one of {', '.join(_DTYPES)}")
        if n_channels < 1:
            raise ValueError(f"n_channels={n_channels} must be at least 1")
        if max_shard_rows is None:
            max_shard_rows = max(1, _DEFAULT_SHARD_N_BYTES // (n_channels * self._dtype.itemsize))
        if max_shard_rows < 1:
            raise ValueError(f"max_shard_rows={max_shard_rows} must be at least 1")
        self._n_channels = n_channels
        self._metadata = metadata
        self._max_shard_rows = max_shard_rows
        self._sources: dict[str, Source] = {}
        self._shard_n_rows: dict[str, int] = {}
        self._label_names = tuple(label_names)
        # Of the newest shard, a source each: its rows, and their labels if there are any.
        self._waiting: list[list[np.ndarray]] = []
        _require_replaceable(self._folder, overwrite)

    def __enter__(self) -> ShardWriter:
        self._aside = contextlib.ExitStack()
        self._partial = self._aside.enter_context(files.written_aside(self._folder))
        self._partial.mkdir()
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        with self._aside:
            if exception is not None:
                raise exception
            self._finish()

    def add(
        self, name: str, rows: np.ndarray, split: str, labels: np.ndarray | None = None
    ) -> None:
        """Appends one source.

        Args:
          name: unique name of the source.
          rows: [n_rows, n_channels] of the writer's dtype, at least one row, finite. Kept, and so
            not to be changed, until their shard is written.
          split: 'train' or 'validation'.
          labels: float32 [n_rows, n_labels], finite, where the writer has names of labels.

        Raises:
          ValueError: rows or labels of another shape or dtype, an unknown split, or a name given
            twice.
        """
        if name in self._sources:
            raise ValueError(f"source {name!r} is there already: names must be unique")
        _require_split(split)
        self._require_rows(name, rows)
        arrays = [rows]
        if self._label_names:
            self._require_labels(name, labels, len(rows))
            arrays.append(labels)
        shard, first_row = self._place(len(rows))
        self._waiting.append(arrays)
        self._shard_n_rows[shard] += len(rows)
        self._sources[name] = Source(name, shard, first_row, len(rows), split)

    def add_text(self, file_name: str, text: str) -> None:
        """Puts a small .csv or .json file beside the shards; it appears together with them."""
        if pathlib.Path(file_name).name != file_name or not _is_own_file(file_name):
            raise ValueError(f"file name {file_name!r} must end in .csv or .json, without a folder")
        path = self._partial / file_name
        path.write_text(text, encoding="utf-8", errors="backslashreplace")

    def _require_rows(self, name: str, rows: np.ndarray) -> None:
        if rows.ndim != 2 or rows.shape[1] != self._n_channels or not len(rows):
            raise ValueError(
                f"source {name!r} has shape {rows.shape}; it must be [n_rows, {self._n_channels}] "
                "with at least one row"
            )
        if rows.dtype != self._dtype:
            raise ValueError(
                f"source {name!r} is {rows.dtype.name}; these shards hold {self._dtype.name}: "
                "convert it first"
            )
        if self._dtype.kind == "f" and not np.isfinite(rows).all():
            raise ValueError(f"source {name!r} holds NaN or infinite values")

    def _require_labels(self, name: str, labels: np.ndarray | None, n_rows: int) -> None:
        shape = (n_rows, len(self._label_names))
        if labels is None or labels.shape != shape or labels.dtype != np.float32:
            found = "none" if labels is None else f"{labels.dtype.name} {list(labels.shape)}"
            raise ValueError(
                f"source {name!r} has {found} labels; its {n_rows} rows need float32 {list(shape)}"
            )
        if not np.isfinite(labels).all():
            raise ValueError(f"the labels of source {name!r} hold NaN or infinite values")

    def _place(self, n_rows: int) -> tuple[str, int]:
        """Shard and row where the next source goes; begins a new shard when the last is full."""
        shard = next(reversed(self._shard_n_rows), None)
        if shard is None or self._shard_n_rows[shard] + n_rows > self._max_shard_rows:
            self._write_shard()
            shard = f"shard-{len(self._shard_n_rows):05d}.npy"
            self._shard_n_rows[shard] = 0
        return shard, self._shard_n_rows[shard]

    def _write_shard(self) -> None:
        """Writes the newest shard, if there is one."""
        shard = next(reversed(self._shard_n_rows), "")
        columns = zip(*self._waiting, strict=True)
        for name, arrays in zip((shard, _labels_file(shard)), columns, strict=False):
            np.save(self._partial / name, np.concatenate(arrays), allow_pickle=False)
        self._waiting = []

    def _finish(self) -> None:
        if not self._sources:
            raise ValueError(f"no source was added: {self._folder} is not written")
        self._write_shard()
        manifest = {
            "version": SHARDS_VERSION,
            "n_channels": self._n_channels,
            "dtype": self._dtype.name,
            "labels": self._label_names,
            "metadata": self._metadata,
            "shards": self._shard_n_rows,
            "sources": [dataclasses.asdict(source) for source in self._sources.values()],
        }
        text = json.dumps(manifest, indent=1)
        (self._partial / _MANIFEST_NAME).write_text(text, encoding="utf-8")


class Shards:
    """A finished shard folder, open for reading; make it with `Shards.open`.

    Attributes:
      metadata: what the writer said about the rows.
      sources: all sources in the order they were added.
      n_channels: columns of every row.
      dtype: NumPy dtype of the rows.
      label_names: what the rows are labelled with; empty if with nothing.
    """

    def __init__(
        self,
        manifest: dict[str, Any],
        arrays: dict[str, np.ndarray],
        label_arrays: dict[str, np.ndarray],
    ):
        self.metadata: dict[str, Any] = manifest["metadata"]
        self.n_channels: int = manifest["n_channels"]
        self.dtype = np.dtype(manifest["dtype"])
        self.sources: list[Source] = [Source(**source) for source in manifest["sources"]]
        self.label_names = _label_names(manifest)
        self._arrays = arrays
        self._label_arrays = label_arrays
        # By split and crop length: made once, for a large data set it takes longer than a batch.
        self._position_tables: dict[tuple[str, int], _PositionTable] = {}

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Shards:
        """Opens a shard folder and checks that it is whole.

        Raises:
          ValueError: no manifest, a manifest of another version, or a shard file that is missing
            or has not the size that the manifest tells.
        """
        folder = pathlib.Path(folder)
        manifest = _read_manifest(folder)
        arrays = {
            name: _open_array(folder / name, (n_rows, manifest["n_channels"]), manifest["dtype"])
            for name, n_rows in manifest["shards"].items()
        }
        n_labels = len(_label_names(manifest))
        label_arrays = {
            name: _open_array(folder / _labels_file(name), (n_rows, n_labels), "float32")
            for name, n_rows in manifest["shards"].items()
            if n_labels
        }
        return cls(manifest, arrays, label_arrays)

    def split(self, name: str) -> list[Source]:
        """Sources of a split, 'train' or 'validation'."""
        _require_split(name)
        return [source for source in self.sources if source.split == name]

    def longest(self, split: str) -> Source:
        """The longest source of a split. Raises ValueError if the split has no source."""
        sources = self.split(split)
        if not sources:
            raise ValueError(f"the shards hold no {split} source: prepare them with more audio")
        return max(sources, key=lambda source: source.n_rows)

    def too_short(self, crop_n_rows: int, split: str = "train") -> tuple[int, int]:
        """Sources of a split that no crop can come from: how many, and their rows in total."""
        n_rows = [s.n_rows for s in self.split(split) if s.n_rows < crop_n_rows]
        return len(n_rows), sum(n_rows)

    def rows(self, source: Source) -> np.ndarray:
        """All rows of one source: [n_rows, n_channels], a read-only view of the file."""
        return self._arrays[source.shard][source.first_row : source.first_row + source.n_rows]

    def labels(self, source: Source) -> np.ndarray:
        """The labels of one source's rows: float32 [n_rows, n_labels], read-only."""
        if not self.label_names:
            return np.zeros((source.n_rows, 0), np.float32)
        array = self._label_arrays[source.shard]
        return array[source.first_row : source.first_row + source.n_rows]

    def crops(self, positions: Sequence[Position], crop_n_rows: int) -> np.ndarray:
        """Reads crops at given positions: [len(positions), crop_n_rows, n_channels]."""
        return np.stack([self.rows(source)[row : row + crop_n_rows] for source, row in positions])

    def random_positions(
        self, rng: np.random.Generator, n_crops: int, crop_n_rows: int, split: str = "train"
    ) -> list[Position]:
        """Draws positions of crops, every one of the split equally likely.

        A crop lies inside one source; sources shorter than a crop are left out.

        Args:
          rng: the only origin of chance.
          n_crops: crops to draw, with replacement.
          crop_n_rows: rows of each crop.
          split: 'train' or 'validation'.

        Raises:
          ValueError: no source of the split is long enough.
        """
        table = self._position_table(crop_n_rows, split)
        return table.locate(rng.integers(table.n_positions, size=n_crops))

    def fixed_crops(self, n_crops: int, crop_n_rows: int, split: str = "validation") -> np.ndarray:
        """Evenly spaced crops, always the same ones: [n_crops, crop_n_rows, n_channels].

        A split with fewer positions than `n_crops` gives some of them more than once.

        Raises:
          ValueError: no source of the split is long enough.
        """
        return self.crops(self.fixed_positions(n_crops, crop_n_rows, split), crop_n_rows)

    def fixed_positions(
        self, n_crops: int, crop_n_rows: int, split: str = "validation"
    ) -> list[Position]:
        """Positions of `fixed_crops`: the middles of n_crops equal parts of all positions."""
        table = self._position_table(crop_n_rows, split)
        return table.locate((2 * np.arange(n_crops) + 1) * table.n_positions // (2 * n_crops))

    def _position_table(self, crop_n_rows: int, split: str) -> _PositionTable:
        key = split, crop_n_rows
        if key not in self._position_tables:
            self._require_crop(crop_n_rows, split)
            self._position_tables[key] = _PositionTable(self.split(split), crop_n_rows)
        return self._position_tables[key]

    def _require_crop(self, crop_n_rows: int, split: str) -> None:
        if crop_n_rows < 1:
            raise ValueError(f"crop_n_rows={crop_n_rows} must be at least 1")
        longest = self.longest(split)
        if longest.n_rows < crop_n_rows:
            raise ValueError(
                f"no {split} source is long enough: a crop takes {crop_n_rows} rows and the "
                f"longest source, {longest.name!r}, has {longest.n_rows}; use shorter crops or "
                "longer audio"
            )


class _PositionTable:
    """Numbers all positions at which a crop fits, source after source."""

    def __init__(self, sources: list[Source], crop_n_rows: int):
        n_rows = np.array([source.n_rows for source in sources], np.int64)
        self._sources = sources
        self._ends = np.cumsum(np.maximum(n_rows - crop_n_rows + 1, 0))
        self._begins = np.concatenate([[0], self._ends[:-1]])
        self.n_positions = int(self._ends[-1])

    def locate(self, numbers: np.ndarray) -> list[Position]:
        """Source and row of each position number (0 to n_positions - 1)."""
        # side="right" steps over sources that are too short, whose end equals the one before.
        indices = np.searchsorted(self._ends, numbers, side="right")
        return [
            (self._sources[index], int(row))
            for index, row in zip(indices, numbers - self._begins[indices], strict=True)
        ]


def _require_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")


def _is_own_file(name: str) -> bool:
    return name.endswith((".json", ".csv")) or (name.startswith("shard-") and name.endswith(".npy"))


def _labels_file(shard: str) -> str:
    return f"{shard.removesuffix('.npy')}.labels.npy"


def _label_names(manifest: dict[str, Any]) -> tuple[str, ...]:
    # Shards of earlier releases have no labels.
    return tuple(manifest.get("labels", ()))


def _require_replaceable(folder: pathlib.Path, overwrite: bool) -> None:
    """Raises ValueError if making `folder` would destroy what nobody asked to replace."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    foreign = [] if folder.is_dir() else [folder.name]
    if folder.is_dir():
        foreign = [path.name for path in folder.iterdir() if not _is_own_file(path.name)]
    if foreign or not (folder / _MANIFEST_NAME).exists():
        named = f" (such as {foreign[0]})" if foreign else ""
        raise ValueError(
            f"{folder} holds other things than shards{named}: choose a new or empty folder"
        )
    if not overwrite:
        raise ValueError(
            f"{folder} holds finished shards already: ask to overwrite them, or choose a new folder"
        )


def _read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / _MANIFEST_NAME
    if not path.is_file():
        raise ValueError(
            f"{folder} is no shard folder, it holds no {_MANIFEST_NAME}: make one with "
            "musika-prepare (waveforms) or musika-encode (latents)"
        )
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("version") != SHARDS_VERSION:
        raise ValueError(
            f"{path} has version {manifest.get('version')}; this program reads version "
            f"{SHARDS_VERSION}: make the shards again with this release"
        )
    return manifest


def _open_array(path: pathlib.Path, shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Memory-maps one shard. Raises ValueError if it is not what the manifest tells."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is missing or damaged ({error}): copy it again or make the shards again"
        ) from error
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise ValueError(
            f"{path} holds {array.dtype.name} {array.shape}, but its manifest tells {dtype} "
            f"{shape}: copy it again or make the shards again"
        )
    return array
