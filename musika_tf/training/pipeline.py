"""Batches as a tf.data pipeline that begins at any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from musika_tf.data import batches as batches_lib
from musika_tf.training import devices

# Two threads read the disk while the device computes; more would only compete with it.
_N_PARALLEL = 2
_N_PREFETCHED = 4

Batches = batches_lib.WaveformBatches | batches_lib.LatentBatches


def iterator(batches: Batches, first_step: int) -> Iterator:
    """Endless batches in order of steps, cut into equal parts for the replicas of the strategy.

    Returns:
      An iterator of what `strategy.run` takes as arguments: tuples of tensors with static shapes,
      or with several replicas of one such part for each.

    Raises:
      ValueError: first_step is negative.
    """
    n_replicas = devices.n_replicas()
    if n_replicas == 1:
        return iter(dataset(batches, first_step))

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        n_local = n_replicas // context.num_input_pipelines
        first = n_local * context.input_pipeline_id

        def parts(*arrays: tf.Tensor) -> tf.data.Dataset:
            cut = tuple(_cut(array, n_replicas)[first : first + n_local] for array in arrays)
            return tf.data.Dataset.from_tensor_slices(cut)

        # One element a replica: the strategy deals them out in turn. Of an endless data set it need
        # not ask, at every step, whether some worker has come to an end.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return dataset(batches, first_step).flat_map(parts).apply(endless)

    return iter(tf.distribute.get_strategy().distribute_datasets_from_function(of_worker))


def _cut(array: tf.Tensor, n_parts: int) -> tf.Tensor:
    """[n, …] → [n_parts, n / n_parts, …]."""
    n_rows, *rest = array.shape
    return tf.reshape(array, [n_parts, n_rows // n_parts, *rest])


def dataset(batches: Batches, first_step: int) -> tf.data.Dataset:
    """Endless batches in order of steps: the k-th element is `batches(first_step + k)`."""
    if first_step < 0:
        raise ValueError(f"first_step={first_step} must not be negative")
    steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max)
    made = steps.map(_in_graph(batches), num_parallel_calls=_N_PARALLEL, deterministic=True)
    return made.prefetch(_N_PREFETCHED)


def _in_graph(batches: Batches) -> Callable[[tf.Tensor], tuple[tf.Tensor, ...]]:
    specs = batches.array_specs

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        arrays = tf.numpy_function(batches, [step], [spec.dtype for spec in specs], stateful=False)
        return tuple(
            tf.ensure_shape(array, spec.shape) for array, spec in zip(arrays, specs, strict=True)
        )

    return batch
