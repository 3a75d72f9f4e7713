"""What tells weights apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np


def sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values of arrays, in the order of their names."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
