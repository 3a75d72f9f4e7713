"""The annotation of many files by worker processes."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

from musika_tf.data.annotation import Annotation, Annotator, annotate
from musika_tf.data.stored_rows import StoredRows


class Waveform(NamedTuple):
    """The samples of a file, int16 [n_samples, 2], and its name."""

    name: str
    rows: StoredRows


@dataclasses.dataclass(frozen=True)
class AnnotationTask:
    """Annotates a `Waveform`; see `Task`.

    Attributes:
      annotators: what to annotate, at least one.
      sample_rate_hz: of all waveforms.
      memory_dir: folder where annotators remember.
    """

    annotators: tuple[Annotator, ...]
    sample_rate_hz: int
    memory_dir: str
    stuck_after_seconds: ClassVar[int] = 0

    def __call__(self, waveform: Waveform) -> dict[str, Annotation]:
        rows = waveform.rows.view()
        return annotate(rows, self.sample_rate_hz, self.annotators, self.memory_dir)

    def failed(self, waveform: Waveform, reason: str) -> dict[str, Annotation]:
        names = ", ".join(annotator.signal_name for annotator in self.annotators)
        raise ValueError(f"annotating {names} of {waveform.name} {reason}: prepare without it")
