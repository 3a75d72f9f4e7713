"""Writes shard folders; `shards` reads them and tells what lies in them."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from musika_tf import files
from musika_tf.data.positions import Source
from musika_tf.data.shards import (
    MANIFEST_NAME,
    SHARDS_VERSION,
    is_own_file,
    labels_file,
    require_split,
)
from musika_tf.data.stored_rows import StoredRows

# A shard is closed when it holds this many bytes: few files, yet each easy to copy.
_DEFAULT_SHARD_N_BYTES = 256 * 2**20


class ShardWriter:
    """Writes a shard folder source by source; use it in a `with` statement.

    Sources go to disk as they come, in a hidden folder that gets its name when the block ends; an
    exception removes it.
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
        # Of the newest shard: its rows, and their labels if there are any.
        self._open: list[_ArrayFile] = []
        _require_replaceable(self._folder, overwrite)

    def __enter__(self) -> ShardWriter:
        files.remove_unfinished(self._folder.parent, self._folder.name)
        self._aside = contextlib.ExitStack()
        self._partial = self._aside.enter_context(files.written_aside(self._folder))
        self._partial.mkdir()
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        with self._aside:
            self._close_shard()
            if exception is not None:
                raise exception
            self._finish()

    def add(
        self,
        name: str,
        rows: np.ndarray | StoredRows,
        split: str,
        labels: np.ndarray | None = None,
        weight: float = 1.0,
    ) -> None:
        """Appends one source, under a unique name, to the split 'train' or 'validation'.

        Rows are [n_rows, n_channels] of the writer's dtype, at least one, finite; labels, where the
        writer has names of some, float32 [n_rows, n_labels], NaN where unknown. The weight: see
        `Source`.

        Raises:
          ValueError: rows or labels of another shape or dtype, an unknown split, or a name given
            twice.
        """
        if name in self._sources:
            raise ValueError(f"source {name!r} is there already: names must be unique")
        require_split(split)
        array = rows.view() if isinstance(rows, StoredRows) else rows
        self._require_rows(name, array)
        if self._label_names:
            self._require_labels(name, labels, len(array))
        shard = next(reversed(self._shard_n_rows), None)
        if shard is None or self._shard_n_rows[shard] + len(array) > self._max_shard_rows:
            shard = self._begin_shard()
        for file, column in zip(self._open, (rows, labels), strict=False):
            file.append(column)
        first_row = self._shard_n_rows[shard]
        self._sources[name] = Source(name, shard, first_row, len(array), split, weight)
        self._shard_n_rows[shard] += len(array)

    def add_text(self, file_name: str, text: str) -> None:
        """Puts a small .csv or .json file beside the shards; it appears together with them."""
        if pathlib.Path(file_name).name != file_name or not is_own_file(file_name):
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

    def _begin_shard(self) -> str:
        self._close_shard()
        shard = f"shard-{len(self._shard_n_rows):05d}.npy"
        self._shard_n_rows[shard] = 0
        self._open = [_ArrayFile(self._partial / shard, self._n_channels, self._dtype)]
        if self._label_names:
            path = self._partial / labels_file(shard)
            self._open.append(_ArrayFile(path, len(self._label_names), np.dtype(np.float32)))
        return shard

    def _close_shard(self) -> None:
        for file in self._open:
            file.close()
        self._open = []

    def _finish(self) -> None:
        if not self._sources:
            raise ValueError(f"no source was added: {self._folder} is not written")
        manifest = {
            "version": SHARDS_VERSION,
            "n_channels": self._n_channels,
            "dtype": self._dtype.name,
            "labels": self._label_names,
            "metadata": self._metadata,
            "shards": self._shard_n_rows,
            "sources": [source.as_dict() for source in self._sources.values()],
        }
        text = json.dumps(manifest, indent=1)
        (self._partial / MANIFEST_NAME).write_text(text, encoding="utf-8")


class _ArrayFile:
    """A .npy file that grows by rows; its header tells how many when it is closed."""

    def __init__(self, path: pathlib.Path, n_channels: int, dtype: np.dtype):
        self._file: BinaryIO = open(path, "wb")
        self._form = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        self._n_channels, self._n_rows = n_channels, 0
        self._write_header()

    def _write_header(self) -> None:
        # NumPy leaves room for the number of rows to grow.
        shape = {"shape": (self._n_rows, self._n_channels)}
        np.lib.format.write_array_header_1_0(self._file, self._form | shape)

    def append(self, rows: np.ndarray | StoredRows) -> None:
        if isinstance(rows, StoredRows):
            rows.copy(self._file)
            self._n_rows += rows.n_rows
        else:
            self._file.write(np.ascontiguousarray(rows).data)
            self._n_rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()


def _require_replaceable(folder: pathlib.Path, overwrite: bool) -> None:
    """Raises ValueError if making `folder` would destroy what nobody asked to replace."""
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else [folder.name]
    if not folder.exists() or not there:
        return
    foreign = [name for name in there if not (folder.is_dir() and is_own_file(name))]
    if foreign or MANIFEST_NAME not in there:
        named = f" (such as {foreign[0]})" if foreign else ""
        raise ValueError(
            f"{folder} holds other things than shards{named}: choose a new or empty folder"
        )
    if not overwrite:
        raise ValueError(
            f"{folder} holds finished shards already: ask to overwrite them, or choose a new folder"
        )
