"""Training on several devices and machines with tf.distribute: every replica takes its share.

A global batch is cut into equal parts, one a replica, in order of the replicas. Losses are means
over a replica's part and gradients are summed, so a trainer divides its losses by the number of
replicas and everything is as if one device had taken the whole batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import tensorflow as tf

STRATEGIES = ("none", "mirrored", "multi_worker")
XLA_CHOICES = ("auto", "on", "off")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of a name; must come before anything else is computed.

    Args:
      name: `none`: one device; `mirrored`: all GPUs of this machine, or where it has none all its
        CPU devices; `multi_worker`: all machines that the environment variable TF_CONFIG names.

    Raises:
      ValueError: an unknown name, or TF_CONFIG is missing or damaged.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multi_worker":
        _require_tf_config()
        return tf.distribute.MultiWorkerMirroredStrategy()
    raise ValueError(f"distribute={name!r} must be one of {', '.join(STRATEGIES)}")


def _require_tf_config() -> None:
    example = (
        '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, '
        '"task": {"type": "worker", "index": 0}}, with the same workers and another index on every '
        "machine"
    )
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise ValueError(
            f"distribute=multi_worker needs the environment variable TF_CONFIG={example}"
        )
    try:
        values = json.loads(text)
        workers, task = values["cluster"]["worker"], values["task"]
        is_one_of_them = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"TF_CONFIG={text} is damaged ({error!r}); it must be {example}") from None
    if not is_one_of_them:
        raise ValueError(
            f"TF_CONFIG={text} names no worker of its own cluster; it must be {example}"
        )


def is_chief() -> bool:
    """Whether this process writes checkpoints and curves: one of all does."""
    cluster = tf.distribute.get_strategy().cluster_resolver
    return cluster is None or not cluster.task_type or cluster.task_id == 0


def n_replicas() -> int:
    """Replicas that share a batch, on all machines."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_rows(values: tf.Tensor) -> tf.Tensor:
    """In a replica: its part of the rows of something that all replicas computed alike."""
    if n_replicas() == 1:
        return values
    n_rows = values.shape[0] // n_replicas()
    first = tf.distribute.get_replica_context().replica_id_in_sync_group * n_rows
    return values[first : first + n_rows]


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """In a replica: the sum of what every replica has, the same on all of them."""
    if n_replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def run_if(condition: tf.Tensor, function: Callable[..., None], *args) -> None:
    """In a replica: runs a function on all replicas if a condition, equal on all, holds.

    A plain `tf.cond` would not do: optimizers talk to the other replicas, which TensorFlow forbids
    inside a condition unless the condition itself spans them.
    """
    if n_replicas() == 1:
        tf.cond(condition, lambda: _done(function(*args)), lambda: _done(None))
        return

    def across_replicas(strategy, condition, args):
        local = strategy.experimental_local_results(condition)[0]
        run = lambda: _done(strategy.extended.call_for_each_replica(function, args=args))  # noqa: E731
        tf.cond(local, run, lambda: _done(None))

    tf.distribute.get_replica_context().merge_call(across_replicas, args=(condition, args))


def _done(_) -> tf.Tensor:
    # Both branches of a condition have to give something.
    return tf.constant(0)


def update(variable: tf.Variable, function: Callable[..., None], *args) -> None:
    """In a replica: `function(variable, *args)` on every copy of a variable, with args of its own.

    Where there is one replica it is just called.
    """
    if n_replicas() == 1:
        function(variable, *args)
        return

    def across_replicas(strategy, *args):
        strategy.extended.update(variable, function, args=args, group=False)

    tf.distribute.get_replica_context().merge_call(across_replicas, args=args)


def counter(name: str, first: float) -> tf.Variable:
    """A scalar that replicas may change alike inside a step: an int is int64, a float float32."""
    return tf.Variable(
        tf.constant(first, tf.int64 if isinstance(first, int) else tf.float32),
        name=name,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


# Where a step runs


def wants_xla(choice: str) -> bool:
    """Whether to try XLA, which several replicas cannot use; `choice` is of `XLA_CHOICES`."""
    if n_replicas() > 1:
        if choice == "on":
            raise ValueError("xla=on works on one device only: leave it out, or distribute=none")
        return False
    return choice == "on" or (choice == "auto" and _has_gpu())


def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


def make_vote() -> Callable[[tf.Tensor], tf.Tensor]:
    """Makes: a wish of this worker → whether any worker has it."""
    strategy = tf.distribute.get_strategy()

    @tf.function(autograph=False)
    def vote(wish):
        wishes = strategy.run(lambda: tf.identity(wish))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, wishes, axis=None) > 0.0

    return vote


def compile_steps(step: Callable, iterator: Iterator, with_xla: bool) -> Callable:
    """N steps as one graph.

    Args:
      step: of a trainer; `with_xla` it is compiled with XLA.
      iterator: of batches, as `pipeline.iterator` makes it.

    Returns:
      (iterator, n_steps) → metrics: means over the good steps; of `skipped` the sum.
    """
    strategy = tf.distribute.get_strategy()
    if with_xla:
        step = tf.function(step, autograph=False, jit_compile=True)

    @tf.function(autograph=False)
    def one_step(iterator):
        metrics = strategy.run(step, args=next(iterator))
        mean = tf.distribute.ReduceOp.MEAN
        return {name: strategy.reduce(mean, value, axis=None) for name, value in metrics.items()}

    names = sorted(one_step.get_concrete_function(iterator).structured_outputs)

    @tf.function
    def run_steps(iterator, n_steps):
        sums = [tf.constant(0.0) for _ in names]
        for _ in tf.range(n_steps):
            metrics = one_step(iterator)
            is_good = metrics["skipped"] == 0.0
            metrics = {k: tf.where(is_good, v, 0.0) for k, v in metrics.items() if k != "skipped"}
            metrics["skipped"] = tf.cast(~is_good, tf.float32)
            sums = [total + metrics[name] for total, name in zip(sums, names, strict=True)]
        totals = dict(zip(names, sums, strict=True))
        n_good = tf.maximum(tf.cast(n_steps, tf.float32) - totals["skipped"], 1.0)
        return {k: v if k == "skipped" else v / n_good for k, v in totals.items()}

    return run_steps
