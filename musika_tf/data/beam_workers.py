"""Workers on many machines: a task as an Apache Beam pipeline.

All machines see the same folders under the same paths; what goes through the pipeline are names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from musika_tf.data.workers import Task, Worker


class _Do(beam.DoFn):
    """Does a task for each item, in a process beside Beam's own that may hang or crash."""

    def __init__(self, task: Task):
        self._task = task

    def setup(self) -> None:
        self._worker = Worker(self._task)

    def process(self, item: Any) -> None:
        self._worker(item)

    def teardown(self) -> None:
        self._worker.close()


@dataclasses.dataclass(frozen=True)
class BeamWorkers:
    """A cluster, or what Beam calls its runner.

    Attributes:
      options: of Beam, as on a command line, `--runner=FlinkRunner` among them.
    """

    options: tuple[str, ...]

    def map(self, task: Task, items: Sequence[Any], doing: str) -> Iterator[Any]:
        """Runs the pipeline to its end; then takes the results, which tasks keep, in order."""
        with beam.Pipeline(options=PipelineOptions(list(self.options))) as pipeline:
            # Without the shuffle one worker would do all that is made in one place.
            named = pipeline | beam.Create(list(items)) | beam.Reshuffle()
            named | doing >> beam.ParDo(_Do(task))
        yield from map(task, items)
