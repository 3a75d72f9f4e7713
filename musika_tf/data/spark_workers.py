"""Workers on many machines: a task on an Apache Spark cluster.

All machines see the same folders under the same paths; what goes through Spark are names. Beam has
a runner for Spark too, which needs a job server of its own; this needs nothing but Spark.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pyspark.sql import SparkSession

from musika_tf.data.workers import Task, Worker

# Parts of the work that each core gets: more of them end more evenly, fewer start less.
_N_PARTS_PER_CORE = 4


@dataclasses.dataclass(frozen=True)
class SparkWorkers:
    """A Spark cluster.

    Attributes:
      options: its configuration, NAME=VALUE each, spark.master=spark://host:7077 among them.
    """

    options: tuple[str, ...]

    def map(self, task: Task, items: Sequence[Any], doing: str) -> Iterator[Any]:
        """Does all; then takes the results, which tasks keep, in order."""
        # On the other machines too, unless the environment says otherwise.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = SparkSession.builder.appName(f"musika {doing}")
        for option in self.options:
            builder = builder.config(*option.split("=", 1))
        with builder.getOrCreate() as session:
            context = session.sparkContext
            n_parts = min(len(items), _N_PARTS_PER_CORE * context.defaultParallelism)
            parts = context.parallelize(items, n_parts)
            parts.foreachPartition(functools.partial(_do, task))
        yield from map(task, items)


def _do(task: Task, items: Iterable[Any]) -> None:
    """A part of the items, in a process beside Spark's own that may hang or crash."""
    worker = Worker(task)
    try:
        for item in items:
            worker(item)
    finally:
        worker.close()
