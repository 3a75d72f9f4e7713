"""Shards: waveforms or latents of a whole data set on disk, read at any place at once.

A shard folder holds `manifest.json` and `shard-00000.npy`, `shard-00001.npy`, ...: plain 2-D arrays
[n_rows, n_channels], each the concatenation of whole sources (one source is one audio file).

    shard-00000.npy          | source 0     | source 1 | source 2              |
    shard-00000.labels.npy   | its labels   | …        | …                     |
    rows                     0              ^ first_row of source 1            n_rows

Rows may have labels: a second array, float32 [n_rows, n_labels], one named column a signal.

The arrays are memory-mapped rather than streamed from TFRecords, because with random access batch n
is a pure function of the seed and n: resuming is exact and nothing needs a shuffle buffer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from musika_tf import files
from musika_tf.data.positions import Position, Positions, Source

SHARDS_VERSION = 1
SPLITS = ("train", "validation")

_MANIFEST_NAME = "manifest.json"
# A shard is closed when it holds this many bytes: few files, yet each easy to copy.
_DEFAULT_SHARD_N_BYTES = 256 * 2**20


class ShardWriter:
    """Writes a shard folder source by source; use it in a `with` statement.

    Shards go to disk as they get full, in a hidden folder that gets its name when the block ends;
    an exception removes it.
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
          n_channels: columns of every source.
          dtype: int16 (waveforms), float16 or float32 (latents).
          metadata: JSON values that describe the rows.
          max_shard_rows: which only a single longer source exceeds; None: 256 MiB of them.
          overwrite: replace an earlier shard folder.
          label_names: unique names of the labels that every row has.

        Raises:
          ValueError: `folder` holds something already.
        """
        self._folder = pathlib.Path(os.path.abspath(folder))
        self._dtype = np.dtype(dtype)
        row_n_bytes = n_channels * self._dtype.itemsize
        self._max_shard_rows = max_shard_rows or _DEFAULT_SHARD_N_BYTES // row_n_bytes
        self._n_channels = n_channels
        self._metadata = metadata
        self._label_names = tuple(label_names)
        self._sources: dict[str, Source] = {}
        self._shard_n_rows: dict[str, int] = {}
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
        """Appends one source, under a unique name, to the split 'train' or 'validation'.

        Rows are [n_rows, n_channels] of the writer's dtype, at least one, finite; labels, where the
        writer has names of some, float32 [n_rows, n_labels], NaN where unknown. Both are kept, and
        so not to be changed, until their shard is written.

        Raises:
          ValueError: rows or labels of another shape or dtype, an unknown split, or a name given
            twice.
        """
        if name in self._sources:
            raise ValueError(f"source {name!r} is there already: names must be unique")
        _require_split(split)
        self._require_rows(name, rows)
        if self._label_names:
            self._require_labels(name, labels, len(rows))
        shard = next(reversed(self._shard_n_rows), None)
        if shard is None or self._shard_n_rows[shard] + len(rows) > self._max_shard_rows:
            self._write_shard()
            shard = f"shard-{len(self._shard_n_rows):05d}.npy"
            self._shard_n_rows[shard] = 0
        self._waiting.append([rows, labels] if self._label_names else [rows])
        self._sources[name] = Source(name, shard, self._shard_n_rows[shard], len(rows), split)
        self._shard_n_rows[shard] += len(rows)

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
        if np.isinf(labels).any():
            raise ValueError(f"the labels of source {name!r} hold infinite values")

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
    """A finished shard folder, open for reading.

    Its attributes are what the writer was given; `sources` are in the order they were added.
    """

    def __init__(self, manifest: dict[str, Any], arrays: dict[str, np.ndarray]):
        """Takes the arrays by file name; `open` reads them."""
        self._manifest = manifest
        self.metadata: dict[str, Any] = manifest["metadata"]
        self.n_channels: int = manifest["n_channels"]
        self.dtype = np.dtype(manifest["dtype"])
        self.sources = [Source(**source) for source in manifest["sources"]]
        self.label_names = tuple(manifest["labels"])
        self._arrays = arrays
        # Kept: for a large data set a table takes longer to make than a batch.
        self._positions = functools.cache(self._make_positions)

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Shards:
        """Opens a shard folder and checks that it is whole.

        Raises:
          ValueError: no manifest, a manifest of another version, or a shard file that is missing
            or has not the size that the manifest tells.
        """
        folder, arrays = pathlib.Path(folder), {}
        manifest = _read_manifest(folder)
        n_channels, n_labels = manifest["n_channels"], len(manifest["labels"])
        for name, n_rows in manifest["shards"].items():
            arrays[name] = _open_array(folder / name, (n_rows, n_channels), manifest["dtype"])
            if n_labels:
                name = _labels_file(name)
                arrays[name] = _open_array(folder / name, (n_rows, n_labels), "float32")
        return cls(manifest, arrays)

    def without(self, names: Collection[str]) -> Shards:
        """The same shards, but for the sources of these names."""
        left = [source for source in self._manifest["sources"] if source["name"] not in names]
        return Shards({**self._manifest, "sources": left}, self._arrays)

    def split(self, name: str) -> list[Source]:
        """Sources of a split, 'train' or 'validation'."""
        _require_split(name)
        return [source for source in self.sources if source.split == name]

    def longest(self, split: str) -> Source:
        """The longest source of a split. Raises ValueError if the split has no source."""
        return max(self._of(split), key=lambda source: source.n_rows)

    def _of(self, split: str) -> list[Source]:
        """Sources of a split that must have some."""
        sources = self.split(split)
        if not sources:
            raise ValueError(f"the shards hold no {split} source: prepare them with more audio")
        return sources

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
        return self.rows(dataclasses.replace(source, shard=_labels_file(source.shard)))

    def crops(self, positions: Sequence[Position], crop_n_rows: int) -> np.ndarray:
        """Reads crops at given positions: [len(positions), crop_n_rows, n_channels]."""
        return np.stack([self.rows(source)[row : row + crop_n_rows] for source, row in positions])

    def random_positions(
        self, rng: np.random.Generator, n_crops: int, crop_n_rows: int, split: str = "train"
    ) -> list[Position]:
        """Draws positions of crops with replacement, every one of the split equally likely.

        A crop lies inside one source; sources shorter than a crop are left out.

        Raises:
          ValueError: no source of the split is long enough.
        """
        table = self._positions(crop_n_rows, split)
        return table.locate(rng.integers(table.n_positions, size=n_crops))

    def fixed_positions(
        self, n_crops: int, crop_n_rows: int, split: str = "validation"
    ) -> list[Position]:
        """The middles of n_crops equal parts of all positions: always the same ones.

        A split with fewer positions than `n_crops` gives some of them more than once.

        Raises:
          ValueError: no source of the split is long enough.
        """
        table = self._positions(crop_n_rows, split)
        return table.locate((2 * np.arange(n_crops) + 1) * table.n_positions // (2 * n_crops))

    def fixed_crops(self, n_crops: int, crop_n_rows: int, split: str = "validation") -> np.ndarray:
        """Crops at `fixed_positions`: [n_crops, crop_n_rows, n_channels]."""
        return self.crops(self.fixed_positions(n_crops, crop_n_rows, split), crop_n_rows)

    def _make_positions(self, crop_n_rows: int, split: str) -> Positions:
        return Positions(self._of(split), crop_n_rows)


def _require_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")


def _is_own_file(name: str) -> bool:
    return name.endswith((".json", ".csv")) or (name.startswith("shard-") and name.endswith(".npy"))


def _labels_file(shard: str) -> str:
    return f"{shard.removesuffix('.npy')}.labels.npy"


def _require_replaceable(folder: pathlib.Path, overwrite: bool) -> None:
    """Raises ValueError if making `folder` would destroy what nobody asked to replace."""
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else [folder.name]
    if not folder.exists() or not there:
        return
    foreign = [name for name in there if not (folder.is_dir() and _is_own_file(name))]
    if foreign or _MANIFEST_NAME not in there:
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
    # Shards of earlier releases have no labels.
    return {"labels": ()} | manifest


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
