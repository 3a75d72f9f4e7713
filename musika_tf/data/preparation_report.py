"""What became of the files of a folder that was prepared: a table for people, and a CSV file."""

from __future__ import annotations

import collections
import csv
import dataclasses
import io
import re

from musika_tf.conditioning.labels import as_stored
from musika_tf.data.decoding import Decoded

# Further files of a kind are counted, not named: report.csv names all.
_MAX_N_NAMED = 100


@dataclasses.dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
      file: path relative to the audio folder.
      split: 'train', 'validation', both ('train+validation', a single file), or '' if skipped.
      train_seconds: seconds of it that are for training.
      validation_seconds: seconds of it that are held out.
      skipped_because: the reason, or '' if it was used.
      decoded: what is in it.
    """

    file: str
    split: str
    train_seconds: float
    validation_seconds: float
    skipped_because: str
    decoded: Decoded

    @property
    def kind(self) -> str:
        """The first words of the reason."""
        return self.skipped_because.split(":")[0]

    def to_row(self) -> dict[str, object]:
        """Its line in the CSV file: first what is for people."""
        values = dataclasses.asdict(self)
        decoded = values.pop("decoded")
        del decoded["unusable_because"]
        return values | {"notes": decoded.pop("notes")} | decoded

    @classmethod
    def from_row(cls, row: dict[str, str]) -> FileReport:
        """The opposite."""
        reason = "" if row["digest"] else row["skipped_because"]
        values = {
            field.name: int(row[field.name]) if field.type == "int" else row[field.name]
            for field in dataclasses.fields(Decoded)
            if field.name != "unusable_because"
        }
        seconds = float(row["train_seconds"]), float(row["validation_seconds"])
        decoded = Decoded(reason, **values)
        return cls(row["file"], row["split"], *seconds, row["skipped_because"], decoded)


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of all files.

    Attributes:
      files: sorted by name.
      others: how many files of which other suffix there are.
      n_remembered: files that an earlier run had decoded.
      labels: lines about the labels that lie beside the shards.
    """

    files: tuple[FileReport, ...]
    others: dict[str, int]
    n_remembered: int = 0
    labels: tuple[str, ...] = ()

    @property
    def used(self) -> list[FileReport]:
        """Files that are in the shards."""
        return [file for file in self.files if file.split]

    @property
    def skipped(self) -> list[FileReport]:
        """Files that are not."""
        return [file for file in self.files if not file.split]

    @property
    def skipped_kinds(self) -> str:
        """Why files were skipped, counted."""
        counts = collections.Counter(file.kind for file in self.skipped).most_common()
        return ", ".join(f"{n} {kind}" for kind, n in counts)

    def to_csv(self) -> str:
        """One line a file, as `FileReport.to_row` has it."""
        text = io.StringIO()
        rows = [file.to_row() for file in self.files]
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_text(self) -> str:
        """The table that is printed: totals, then the files with notes and those skipped."""
        lines = ["               files     hours"]
        for split in ("train", "validation"):
            n_files = sum(split in file.split.split("+") for file in self.used)
            hours = sum(getattr(file, f"{split}_seconds") for file in self.used) / 3600
            lines.append(f"{split:<12}{n_files:>8}{hours:>10.3f}")
        lines.append(f"{'skipped':<12}{len(self.skipped):>8}  {self.skipped_kinds}".rstrip())
        n_limited = sum(file.decoded.n_limited_samples > 0 for file in self.used)
        counts = {"too loud": (n_limited, "limited to full scale")}
        listed = ", ".join(f"{n} {suffix}" for suffix, n in self.others.items())
        counts["no audio"] = sum(self.others.values()), listed
        counts["remembered"] = self.n_remembered, "decoded by an earlier run"
        lines += [f"{name:<12}{n:>8}  {text}" for name, (n, text) in counts.items() if n]
        lines += _named("note on", {f.file: f.decoded.notes for f in self.used if f.decoded.notes})
        lines += _named("skipped", {f.file: f.skipped_because for f in self.skipped})
        return as_stored("\n".join((*lines, *self.labels)))


def _named(word: str, texts: dict[str, str]) -> list[str]:
    lines = [f"{word} {_one_line(file)}: {text}" for file, text in texts.items()]
    if len(lines) > _MAX_N_NAMED:
        lines[_MAX_N_NAMED:] = [f"{word} {len(lines) - _MAX_N_NAMED} more, see report.csv"]
    return lines


def _one_line(name: str) -> str:
    """A file name whose line feeds and the like cannot be taken for the end of a line."""
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: repr(match[0])[1:-1], name)
