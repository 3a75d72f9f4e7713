"""What tests compare as a whole: named arrays, and folders of files."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike


def require_same(found: Mapping[str, ArrayLike], expected: Mapping[str, ArrayLike]) -> None:
    """The same names, and under each the same values to the last bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Of every file in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
