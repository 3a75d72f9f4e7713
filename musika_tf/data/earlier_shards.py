"""What the waveform shards of an earlier run still know of files that have not changed."""

from __future__ import annotations

import csv
import os
import pathlib

from musika_tf.conditioning.labels import as_stored
from musika_tf.config import AudioConfig
from musika_tf.data.decoding import AudioFile, Content, Decoded
from musika_tf.data.preparation_report import FileReport
from musika_tf.data.shards import Shards
from musika_tf.data.stored_rows import StoredRows

REPORT_NAME = "report.csv"


class EarlierShards:
    """Files of a shard folder, by name: what they are, and where their samples lie."""

    def __init__(self, data_dir: str | os.PathLike, config: AudioConfig):
        """Reads the report of `data_dir`, if shards of the same sample rate lie there."""
        self._decoded: dict[str, Decoded] = {}
        self._rows: dict[str, StoredRows] = {}
        path = pathlib.Path(data_dir, REPORT_NAME)
        if not path.is_file():
            return
        shards = Shards.open(data_dir)
        if shards.metadata["audio"]["sample_rate_hz"] != config.sample_rate_hz:
            return
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            # An earlier release wrote fewer columns.
            if "version" in (rows.fieldnames or ()):
                self._decoded = {row["file"]: FileReport.from_row(row).decoded for row in rows}
        self._rows = {source.name: shards.stored(source) for source in shards.sources}

    def find(self, file: AudioFile) -> Content | None:
        """What is known of a file; None: nothing, or it has changed.

        Rows are None if the file was not used. Of one that was cut in two nothing is known.
        """
        decoded, rows = self._decoded.get(as_stored(file.name)), self._rows.get(file.name)
        if decoded is None or not decoded.is_of(file):
            return None
        if rows is not None and rows.n_rows != decoded.n_samples:
            return None
        return Content(decoded, rows)
