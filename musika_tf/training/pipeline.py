"""Batches as a tf.data pipeline that begins at any step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from musika_tf import batches as batches_lib

# Two threads read the disk while the device computes; more would only compete with it.
_N_PARALLEL = 2
_N_PREFETCHED = 4


def dataset(
    batches: batches_lib.WaveformBatches | batches_lib.LatentBatches, first_step: int
) -> tf.data.Dataset:
    """Endless batches in order of steps: the k-th element is `batches(first_step + k)`.

    Args:
      batches: a function of the step that also tells its `array_specs`.
      first_step: step of the first element: 0, or where a resumed training goes on.

    Returns:
      Dataset of tuples of tensors with static shapes.

    Raises:
      ValueError: first_step is negative.
    """
    if first_step < 0:
        raise ValueError(f"first_step={first_step} must not be negative")
    steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max)
    made = steps.map(_in_graph(batches), num_parallel_calls=_N_PARALLEL, deterministic=True)
    return made.prefetch(_N_PREFETCHED)


def _in_graph(batches) -> Callable[[tf.Tensor], tuple[tf.Tensor, ...]]:
    specs = batches.array_specs

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        arrays = tf.numpy_function(batches, [step], [spec.dtype for spec in specs], stateful=False)
        return tuple(
            tf.ensure_shape(array, spec.shape) for array, spec in zip(arrays, specs, strict=True)
        )

    return batch
