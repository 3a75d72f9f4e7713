"""Rows of an array that lie in a file, named instead of loaded."""

from __future__ import annotations

import dataclasses
from typing import BinaryIO

import numpy as np

_COPY_N_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class StoredRows:
    """Rows [n_rows, n_channels] of a dtype, from a byte of a file on."""

    path: str
    first_byte: int
    n_rows: int
    n_channels: int
    dtype: str

    def view(self) -> np.ndarray:
        """The rows as an array; what is looked at is read, and counts as memory."""
        place = {"offset": self.first_byte, "shape": (self.n_rows, self.n_channels)}
        return np.memmap(self.path, self.dtype, "r", **place)

    def cut(self, n_rows: int) -> tuple[StoredRows, StoredRows]:
        """The first rows, and the rest."""
        rest_byte = self.first_byte + n_rows * self._row_n_bytes
        return (
            dataclasses.replace(self, n_rows=n_rows),
            dataclasses.replace(self, first_byte=rest_byte, n_rows=self.n_rows - n_rows),
        )

    def copy(self, target: BinaryIO) -> None:
        """Appends them to a file, in little memory."""
        n_left = self.n_rows * self._row_n_bytes
        with open(self.path, "rb") as source:
            source.seek(self.first_byte)
            while n_left:
                data = source.read(min(n_left, _COPY_N_BYTES))
                if not data:
                    raise OSError(f"{self.path} is shorter than it was: prepare it again")
                n_left -= target.write(data)

    @property
    def _row_n_bytes(self) -> int:
        return self.n_channels * np.dtype(self.dtype).itemsize
