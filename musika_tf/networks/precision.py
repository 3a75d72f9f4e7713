"""Number formats of networks: float32 throughout, or half precision where it does no harm.

Optimizers, losses, Fourier transforms and all that leaves a network are float32 in every case; half
precision is for what happens inside the networks, which is most of the work, and, once they are
trained, for their weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

# Of `TrainingConfig.precision`: the Keras policy of the networks.
_POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def networks_of(precision: str) -> contextlib.AbstractContextManager[None]:
    """Networks that are built inside compute in this precision; their weights are float32."""
    return _policy(_POLICIES[precision])


def trained_networks_of(precision: str) -> contextlib.AbstractContextManager[None]:
    """Networks that are built inside compute in this precision and keep their weights in it.

    But for their last layers, and what is said to be in float32.
    """
    return _policy(precision)


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
