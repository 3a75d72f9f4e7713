"""What became of the files of a folder that was prepared."""

from __future__ import annotations

import csv
import dataclasses
import io


@dataclasses.dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
      file: path relative to the audio folder.
      split: 'train', 'validation', both ('train+validation', a single file), or '' if skipped.
      train_seconds: seconds of it that are for training.
      validation_seconds: seconds of it that are held out.
      n_limited_samples: samples beyond full scale, which were limited to it.
      skipped_because: the reason, or '' if it was used.
    """

    file: str
    split: str
    train_seconds: float
    validation_seconds: float
    n_limited_samples: int
    skipped_because: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of all files.

    Attributes:
      files: one entry a file with an audio suffix, sorted by path.
      other_suffixes: how many files of other suffixes lay there, which are no audio.
      labels: lines about the labels that lie beside the shards.
    """

    files: tuple[FileReport, ...]
    other_suffixes: dict[str, int]
    labels: tuple[str, ...] = ()

    @property
    def used(self) -> list[FileReport]:
        """Files that are in the shards."""
        return [file for file in self.files if file.split]

    @property
    def skipped(self) -> list[FileReport]:
        """Files that are not."""
        return [file for file in self.files if not file.split]

    def to_csv(self) -> str:
        """One line a file, with the fields of `FileReport`."""
        text = io.StringIO()
        names = [field.name for field in dataclasses.fields(FileReport)]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(file) for file in self.files)
        return text.getvalue()

    def to_text(self) -> str:
        """The table that is printed: totals, then every skipped file with its reason."""
        lines = ["               files     hours"]
        for split in ("train", "validation"):
            n_files = sum(split in file.split.split("+") for file in self.used)
            hours = sum(getattr(file, f"{split}_seconds") for file in self.used) / 3600
            lines.append(f"{split:<12}{n_files:>8}{hours:>10.3f}")
        lines.append(f"{'skipped':<12}{len(self.skipped):>8}")
        n_limited = sum(file.n_limited_samples > 0 for file in self.used)
        if n_limited:
            lines.append(f"{'too loud':<12}{n_limited:>8}  limited to full scale")
        if self.other_suffixes:
            listed = ", ".join(f"{n} {suffix}" for suffix, n in self.other_suffixes.items())
            lines.append(f"{'no audio':<12}{sum(self.other_suffixes.values()):>8}  {listed}")
        lines += [f"skipped {file.file}: {file.skipped_because}" for file in self.skipped]
        lines += self.labels
        # A file name that is no UTF-8 must not end the program at its very last line.
        return "\n".join(lines).encode("utf-8", "backslashreplace").decode()
