"""Folders of audio files to waveform shards and labels, with a report that accounts for each."""

from __future__ import annotations

import collections
import concurrent.futures
import csv
import dataclasses
import hashlib
import io
import multiprocessing
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tqdm

from musika_tf import audio as audio_lib
from musika_tf.conditioning import labels as labels_lib
from musika_tf.conditioning.labels import Labels
from musika_tf.config import INT16_SCALE, N_CHANNELS, AudioConfig
from musika_tf.data import annotation, datasets
from musika_tf.data.annotation import Annotation, Annotator
from musika_tf.data.shards import ShardWriter

# All are tried; which of them can be read depends on libsndfile (of version 1.2: up to .opus).
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".opus", ".m4a", ".aac", ".wma",
)  # fmt: skip
REPORT_NAME = "report.csv"

# A file that never gets louder than this (-60 dB of full scale) is called silent.
_SILENCE_PEAK = 1e-3
# Share of its length that a single file gives for validation.
_SINGLE_FILE_SHARE = 0.1
# Split of a single file, and what its second part is called.
_BOTH_SPLITS = "train+validation"
_END_NAME = "{} (end)"


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
    split: str = ""
    train_seconds: float = 0.0
    validation_seconds: float = 0.0
    n_limited_samples: int = 0
    skipped_because: str = ""


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
    def skipped(self) -> list[FileReport]:
        """Files that are not in the shards."""
        return [file for file in self.files if file.skipped_because]

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
        used = [file for file in self.files if file.split]
        lines = ["               files     hours"]
        for split in ("train", "validation"):
            n_files = sum(split in file.split.split("+") for file in used)
            hours = sum(getattr(file, f"{split}_seconds") for file in used) / 3600
            lines.append(f"{split:<12}{n_files:>8}{hours:>10.3f}")
        lines.append(f"{'skipped':<12}{len(self.skipped):>8}")
        n_limited = sum(file.n_limited_samples > 0 for file in used)
        if n_limited:
            lines.append(f"{'too loud':<12}{n_limited:>8}  limited to full scale")
        if self.other_suffixes:
            listed = ", ".join(f"{n} {suffix}" for suffix, n in self.other_suffixes.items())
            lines.append(f"{'no audio':<12}{sum(self.other_suffixes.values()):>8}  {listed}")
        lines += [f"skipped {file.file}: {file.skipped_because}" for file in self.skipped]
        lines += self.labels
        # A file name that is no UTF-8 must not end the program at its very last line.
        return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """One file as read by a worker: a waveform, int16 [n_samples, 2], or why there is none."""

    waveform: np.ndarray | None = None
    n_limited_samples: int = 0
    skipped_because: str = ""
    # By signal name.
    annotations: dict[str, Annotation] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Task:
    """What a worker does with every file."""

    config: AudioConfig
    annotators: tuple[Annotator, ...]
    memory_dir: str


def prepare(
    audio_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    config: AudioConfig,
    *,
    validation_share: float = 0.05,
    n_workers: int = 1,
    overwrite: bool = False,
    annotators: Sequence[Annotator] = (),
    labels: Mapping[str, Labels] | None = None,
) -> Report:
    """Writes all usable audio below a folder as one folder of waveform shards.

    Memory holds about two files a worker at a time, as 16-bit samples. The shards do not depend on
    `n_workers`. What annotators find is remembered in the folder `data_dir`.annotations, which may
    be deleted.

    Whether a file is held out follows from its own relative path: it is if the hash of that path
    lies in the first `validation_share` of all hashes. So files that are added later leave the
    others in their split. Two exceptions make sure that both splits have something: the used file
    of the lowest hash is always held out, and that of the highest hash always trained on. A single
    used file is cut, and its end held out.

    Args:
      audio_dir: folder to search, with its subfolders.
      data_dir: shard folder to make; `report.csv` lies there too.
      config: gives the sample rate, and the length below which a file is too short.
      validation_share: share of the files to hold out, above 0 and at most 0.5; of few files it
        can be more or less.
      n_workers: processes that read; 1 reads in this process.
      overwrite: replace earlier shards in `data_dir`.
      annotators: each writes the labels of one signal, labels-NAME.csv, beside the shards.
      labels: more labels to lie there, by signal name; of them, what belongs to files in the
        shards.

    Returns:
      The report.

    Raises:
      ValueError: no audio file, none usable, a bad share, something lies in `data_dir` already, or
        labels that do not belong to these files.
    """
    labels = dict(labels or {})
    if not 0 < validation_share <= 0.5:
        raise ValueError(f"validation_share={validation_share} must be above 0 and at most 0.5")
    if n_workers < 1:
        raise ValueError(f"n_workers={n_workers} must be at least 1")
    names, other_suffixes = find_audio_files(audio_dir)
    _require_labels(labels, annotators, names)
    task = _Task(config, tuple(annotators), f"{os.path.abspath(data_dir)}.annotations")
    metadata = datasets.waveform_metadata(config)
    annotations: dict[str, dict[str, Annotation]] = {}
    with ShardWriter(data_dir, N_CHANNELS, np.int16, metadata, overwrite=overwrite) as writer:
        loaded = _load_all(audio_dir, sorted(names, key=hash_position), task, n_workers)
        files = _write_all(writer, _collect(loaded, annotations), config, validation_share)
        report = Report(tuple(sorted(files, key=lambda file: file.file)), other_suffixes)
        _require_used(report, audio_dir)
        report = _add_labels(writer, report, annotators, annotations, labels)
        writer.add_text(REPORT_NAME, report.to_csv())
    return report


def find_audio_files(audio_dir: str | os.PathLike) -> tuple[list[str], dict[str, int]]:
    """Finds audio files by suffix, in subfolders and linked folders too.

    Returns:
      Paths relative to `audio_dir` with forward slashes, sorted; and how many files of which other
      suffix lie there.

    Raises:
      ValueError: no such folder, or no audio file in it.
    """
    root = pathlib.Path(audio_dir)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: give the folder that holds the audio files")
    names, others = [], collections.Counter()
    for path in _walk(root):
        if path.suffix.lower() in AUDIO_SUFFIXES:
            names.append(path.relative_to(root).as_posix())
        else:
            others[path.suffix.lower() or "without suffix"] += 1
    if not names:
        raise ValueError(
            f"no audio file in {root} or below, among {others.total()} files: looked for "
            f"{', '.join(AUDIO_SUFFIXES)}"
        )
    return sorted(names), dict(sorted(others.items()))


def _walk(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """All files below a folder; a linked folder that was seen before is not entered again."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        yield from (pathlib.Path(folder, file) for file in files)


def hash_position(name: str) -> float:
    """Where the hash of a name lies among all hashes, from 0 to 1; the same on every machine."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _load_all(
    audio_dir: str | os.PathLike, names: list[str], task: _Task, n_workers: int
) -> Iterator[tuple[str, _Loaded]]:
    """Loads files in the given order, with a progress bar."""
    paths = [pathlib.Path(audio_dir, name) for name in names]
    doing = "reading and annotating" if task.annotators else "reading"
    with tqdm.tqdm(total=len(names), desc=doing, unit="file") as progress:
        for name, loaded in zip(names, _map(paths, task, n_workers), strict=True):
            yield name, loaded
            progress.update()


def _map(paths: list[pathlib.Path], task: _Task, n_workers: int) -> Iterator[_Loaded]:
    """`_load` for every path in order, in this process or in several."""
    if n_workers == 1 or len(paths) == 1:
        yield from (_load(path, task) for path in paths)
        return
    # Fresh processes: a forked copy of a process that runs threads (TensorFlow) can hang.
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(min(n_workers, len(paths)), context)
    try:
        # Only so many files are under way or waiting to be written, whatever their number.
        pending = collections.deque()
        for path in paths:
            pending.append(executor.submit(_load, path, task))
            if len(pending) >= 2 * n_workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise ValueError(
            f"a process that reads audio was killed, most likely for memory: n_workers={n_workers} "
            "must be smaller on this machine"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _load(path: pathlib.Path, task: _Task) -> _Loaded:
    """Reads and annotates one file, as int16 stereo at its final rate. Runs in a worker process."""
    rate = task.config.sample_rate_hz
    try:
        blocks, n_limited = [], 0
        for block in audio_lib.read_blocks(path, rate):
            samples = audio_lib.to_stereo(block).samples
            n_limited += int((np.abs(samples) > 1).sum())
            blocks.append(audio_lib.to_int16(samples))
    except ValueError as error:
        return _Loaded(skipped_because=f"unreadable: {error}")
    waveform = np.concatenate(blocks)
    reason = _unusable_because(waveform, task.config)
    if reason:
        return _Loaded(skipped_because=reason)
    annotations = annotation.annotate(waveform, rate, task.annotators, task.memory_dir)
    return _Loaded(waveform, n_limited, annotations=annotations)


def _collect(
    all_loaded: Iterable[tuple[str, _Loaded]], annotations: dict[str, dict[str, Annotation]]
) -> Iterator[tuple[str, _Loaded]]:
    """Hands files on, and puts the annotations of those that are used in a dictionary."""
    for name, loaded in all_loaded:
        if loaded.waveform is not None:
            annotations[name] = loaded.annotations
        yield name, loaded


def _unusable_because(waveform: np.ndarray, config: AudioConfig) -> str:
    """Why a waveform cannot be used, or ''."""
    if not len(waveform):
        return "empty: it holds no samples"
    needed = config.pair_n_samples
    if len(waveform) < needed:
        return (
            f"too short: {len(waveform) / config.sample_rate_hz:.2f} s, a training pair takes "
            f"{needed / config.sample_rate_hz:.2f} s"
        )
    # Minimum and maximum apart: the absolute value of -32768 does not fit in 16 bits.
    if max(int(waveform.max()), -int(waveform.min())) < _SILENCE_PEAK * INT16_SCALE:
        return "silent: never above -60 dB of full scale"
    return ""


def _write_all(
    writer: ShardWriter,
    all_loaded: Iterable[tuple[str, _Loaded]],
    config: AudioConfig,
    validation_share: float,
) -> list[FileReport]:
    """Gives every used file to a split and writes it.

    Args:
      writer: of the shards.
      all_loaded: files in the order of their `hash_position`.
      config: of the audio.
      validation_share: hash positions below it are held out.

    Returns:
      One report a file, in any order.
    """
    reports, waiting, n_written = [], None, 0
    for name, loaded in all_loaded:
        if loaded.waveform is None:
            reports.append(FileReport(name, skipped_because=loaded.skipped_because))
            continue
        # One file waits for the next, because the first and the last are special.
        if waiting:
            is_held_out = not n_written or hash_position(waiting[0]) < validation_share
            split = "validation" if is_held_out else "train"
            reports.append(_write_whole(writer, *waiting, split, config))
            n_written += 1
        waiting = name, loaded
    if waiting and n_written:
        reports.append(_write_whole(writer, *waiting, "train", config))
    elif waiting:
        reports.append(_write_cut(writer, *waiting, config))
    return reports


def _write_whole(
    writer: ShardWriter, name: str, loaded: _Loaded, split: str, config: AudioConfig
) -> FileReport:
    writer.add(name, loaded.waveform, split)
    seconds = {f"{split}_seconds": len(loaded.waveform) / config.sample_rate_hz}
    return FileReport(name, split, n_limited_samples=loaded.n_limited_samples, **seconds)


def _write_cut(writer: ShardWriter, name: str, loaded: _Loaded, config: AudioConfig) -> FileReport:
    """Writes the only file there is; its end is held out.

    That is a tenth, or more if a validation hears more, as long as twice that is left to train on;
    in any case a training pair.
    """
    needed, wanted = config.pair_n_samples, datasets.held_out_n_samples(config)
    n_rows = len(loaded.waveform)
    least = wanted if n_rows >= 3 * wanted else needed
    n_validation = max(least, round(_SINGLE_FILE_SHARE * n_rows))
    n_train = n_rows - n_validation
    if n_train < needed:
        raise ValueError(
            f"the only usable file, {name}, is {n_rows / config.sample_rate_hz:.2f} s long; "
            f"training and validation together need {2 * needed / config.sample_rate_hz:.2f} s: "
            "add more audio"
        )
    writer.add(name, loaded.waveform[:n_train], "train")
    writer.add(_END_NAME.format(name), loaded.waveform[n_train:], "validation")
    return FileReport(
        name,
        _BOTH_SPLITS,
        n_train / config.sample_rate_hz,
        n_validation / config.sample_rate_hz,
        loaded.n_limited_samples,
    )


def _require_used(report: Report, audio_dir: str | os.PathLike) -> None:
    """Raises ValueError with the reasons, counted, if no file could be used."""
    if len(report.skipped) == len(report.files):
        kinds = collections.Counter(f.skipped_because.split(":")[0] for f in report.skipped)
        listed = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
        raise ValueError(
            f"none of the {len(report.files)} audio files in {audio_dir} can be used: {listed} "
            f"(such as {report.skipped[0].file}, {report.skipped[0].skipped_because})"
        )


def _require_labels(
    labels: Mapping[str, Labels], annotators: Sequence[Annotator], names: Sequence[str]
) -> None:
    """Raises ValueError, before hours of reading, if labels cannot belong to these files."""
    for annotator in annotators:
        if annotator.signal_name in labels:
            raise ValueError(
                f"labels of {annotator.signal_name} are given and shall be annotated too: only one"
            )
    for signal_labels in labels.values():
        signal_labels.require_some(names)


def _add_labels(
    writer: ShardWriter,
    report: Report,
    annotators: Sequence[Annotator],
    annotations: Mapping[str, Mapping[str, Annotation]],
    labels: Mapping[str, Labels],
) -> Report:
    """Writes one label file a signal.

    Args:
      writer: of the shards.
      report: of the files in them.
      annotators: that were run.
      annotations: what they found, by file and signal name.
      labels: more labels, by signal name.

    Returns:
      The report with lines about all labels.
    """
    lines, found = [], {}
    seconds = sum(file.train_seconds + file.validation_seconds for file in report.files)
    for annotator in annotators:
        name = annotator.signal_name
        of_signal = {file: annotations[file][name] for file in sorted(annotations)}
        found[name] = annotation.labels_of(annotator, of_signal)
        lines += annotation.report(annotator, of_signal, seconds)
    for name, signal_labels in (found | dict(labels)).items():
        chosen, sources = _fit(signal_labels, report.files)
        if name in labels:
            chosen.require(sources)
            lines.append(f"{name}: labels of {len(chosen.files)} of {len(sources)} sources, given")
        writer.add_text(labels_lib.file_name(name), chosen.to_csv())
    return dataclasses.replace(report, labels=tuple(lines))


def _fit(labels: Labels, files: Iterable[FileReport]) -> tuple[Labels, list[str]]:
    """The labels of all sources in the shards, and the names of these."""
    sources = []
    for file in files:
        if file.split:
            sources.append(file.file)
        if file.split == _BOTH_SPLITS:
            end_name = _END_NAME.format(file.file)
            labels = labels.split(file.file, end_name, file.train_seconds)
            sources.append(end_name)
    return labels.only(sources), sources
