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

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from musika_tf.data.positions import Position, Positions, Source
from musika_tf.data.stored_rows import StoredRows

SHARDS_VERSION = 1
SPLITS = ("train", "validation")

MANIFEST_NAME = "manifest.json"


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
        self._positions = functools.cache(lambda n, split: Positions(self._of(split), n))

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
                name = labels_file(name)
                arrays[name] = _open_array(folder / name, (n_rows, n_labels), "float32")
        return cls(manifest, arrays)

    def without(self, names: Collection[str]) -> Shards:
        """The same shards, but for the sources of these names."""
        left = [source for source in self._manifest["sources"] if source["name"] not in names]
        return Shards({**self._manifest, "sources": left}, self._arrays)

    def split(self, name: str) -> list[Source]:
        """Sources of a split, 'train' or 'validation'."""
        require_split(name)
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

    def stored(self, source: Source) -> StoredRows:
        """The same, named instead of loaded."""
        array = self._arrays[source.shard]
        first_byte = array.offset + source.first_row * array.strides[0]
        form = source.n_rows, self.n_channels, self.dtype.name
        return StoredRows(os.path.abspath(array.filename), first_byte, *form)

    def labels(self, source: Source) -> np.ndarray:
        """The labels of one source's rows: float32 [n_rows, n_labels], read-only."""
        if not self.label_names:
            return np.zeros((source.n_rows, 0), np.float32)
        return self.rows(dataclasses.replace(source, shard=labels_file(source.shard)))

    def crops(self, positions: Sequence[Position], crop_n_rows: int) -> np.ndarray:
        """Reads crops at given positions: [len(positions), crop_n_rows, n_channels]."""
        return np.stack([self.rows(source)[row : row + crop_n_rows] for source, row in positions])

    def random_positions(
        self, rng: np.random.Generator, n_crops: int, crop_n_rows: int
    ) -> list[Position]:
        """Draws positions of training crops with replacement, by their sources' weights.

        A crop lies inside one source; sources shorter than a crop are left out.

        Raises:
          ValueError: no source of the split is long enough.
        """
        return self._positions(crop_n_rows, "train").draw(rng, n_crops)

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


def require_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")


def is_own_file(name: str) -> bool:
    return name.endswith((".json", ".csv")) or (name.startswith("shard-") and name.endswith(".npy"))


def labels_file(shard: str) -> str:
    return f"{shard.removesuffix('.npy')}.labels.npy"


def _read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ValueError(
            f"{folder} is no shard folder, it holds no {MANIFEST_NAME}: make one with "
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
