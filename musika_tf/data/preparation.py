"""Folders of audio files to waveform shards and labels, with a report that accounts for each."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from musika_tf.conditioning import labels as labels_lib
from musika_tf.conditioning.labels import Labels
from musika_tf.config import N_CHANNELS, AudioConfig
from musika_tf.data import annotation, datasets
from musika_tf.data.annotation import Annotation, Annotator
from musika_tf.data.audio_folder import Loaded, Loader, find_audio_files
from musika_tf.data.preparation_report import FileReport, Report
from musika_tf.data.shards import ShardWriter

REPORT_NAME = "report.csv"

# Share of its length that a single file gives for validation.
_SINGLE_FILE_SHARE = 0.1
# Split of a single file, and what its second part is called.
_BOTH_SPLITS = "train+validation"
_END_NAME = "{} (end)"


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

    Raises:
      ValueError: no audio file, none usable, a bad share, something lies in `data_dir` already, or
        labels that do not belong to these files.
    """
    labels = labels or {}
    if not 0 < validation_share <= 0.5:
        raise ValueError(f"validation_share={validation_share} must be above 0 and at most 0.5")
    names, other_suffixes = find_audio_files(audio_dir)
    _require_labels(labels, annotators, names)
    names.sort(key=hash_position)
    paths = [pathlib.Path(audio_dir, name) for name in names]
    loader = Loader(config, tuple(annotators), f"{os.path.abspath(data_dir)}.annotations")
    metadata = datasets.waveform_metadata(config)
    files: list[FileReport] = []
    annotations: dict[str, dict[str, Annotation]] = {}
    with ShardWriter(data_dir, N_CHANNELS, np.int16, metadata, overwrite=overwrite) as writer:
        all_loaded = zip(names, loader.load_all(paths, n_workers), strict=True)
        for name, loaded, split in _with_splits(all_loaded, validation_share):
            files.append(_write(writer, name, loaded, split, config))
            annotations[name] = loaded.annotations
        report = Report(tuple(sorted(files, key=lambda file: file.file)), other_suffixes)
        _require_used(report, audio_dir)
        lines = _add_labels(writer, report, annotators, annotations, labels)
        writer.add_text(REPORT_NAME, report.to_csv())
    return dataclasses.replace(report, labels=tuple(lines))


def hash_position(name: str) -> float:
    """Where the hash of a name lies among all hashes, from 0 to 1; the same on every machine."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _with_splits(
    all_loaded: Iterable[tuple[str, Loaded]], validation_share: float
) -> Iterator[tuple[str, Loaded, str]]:
    """Gives files, in the order of their hash positions, their split; '' to those to skip."""
    # One file waits for the next, because the first and the last are special.
    waiting, is_first = None, True
    for name, loaded in all_loaded:
        if loaded.skipped_because:
            yield name, loaded, ""
            continue
        if waiting:
            is_held_out = is_first or hash_position(waiting[0]) < validation_share
            yield *waiting, "validation" if is_held_out else "train"
            is_first = False
        waiting = name, loaded
    if waiting:
        yield *waiting, _BOTH_SPLITS if is_first else "train"


def _write(
    writer: ShardWriter, name: str, loaded: Loaded, split: str, config: AudioConfig
) -> FileReport:
    """Writes one file, or its two parts; of a skipped one nothing."""
    n_samples, rate = len(loaded.waveform), config.sample_rate_hz
    n_train = {"train": n_samples}.get(split, 0)
    end_name = name
    if split == _BOTH_SPLITS:
        n_train = n_samples - _end_n_samples(name, n_samples, config)
        end_name = _END_NAME.format(name)
    if n_train:
        writer.add(name, loaded.waveform[:n_train], "train")
    if n_train < n_samples:
        writer.add(end_name, loaded.waveform[n_train:], "validation")
    seconds = n_train / rate, (n_samples - n_train) / rate
    return FileReport(name, split, *seconds, loaded.n_limited_samples, loaded.skipped_because)


def _end_n_samples(name: str, n_samples: int, config: AudioConfig) -> int:
    """How much of the only file there is is held out.

    That is a tenth, or more if a validation hears more, as long as twice that is left to train on;
    in any case a training pair.
    """
    needed, wanted = config.pair_n_samples, datasets.held_out_n_samples(config)
    least = wanted if n_samples >= 3 * wanted else needed
    n_held_out = max(least, round(_SINGLE_FILE_SHARE * n_samples))
    if n_samples - n_held_out < needed:
        rate = config.sample_rate_hz
        raise ValueError(
            f"the only usable file, {name}, is {n_samples / rate:.2f} s long; training and "
            f"validation together need {2 * needed / rate:.2f} s: add more audio"
        )
    return n_held_out


def _require_used(report: Report, audio_dir: str | os.PathLike) -> None:
    """Raises ValueError with the reasons, counted, if no file could be used."""
    if not report.used:
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
) -> list[str]:
    """Writes one label file a signal: what annotators found, by file and signal, then more labels.

    Returns:
      Lines about all of them.
    """
    lines, found = [], {}
    seconds = sum(file.train_seconds + file.validation_seconds for file in report.used)
    for annotator in annotators:
        name = annotator.signal_name
        of_signal = {file.file: annotations[file.file][name] for file in report.used}
        found[name] = annotation.labels_of(annotator, of_signal)
        lines += annotation.report(annotator, of_signal, seconds)
    for name, signal_labels in (found | dict(labels)).items():
        chosen, sources = _fit(signal_labels, report.used)
        if name in labels:
            chosen.require(sources)
            lines.append(f"{name}: labels of {len(chosen.files)} of {len(sources)} sources, given")
        writer.add_text(labels_lib.file_name(name), chosen.to_csv())
    return lines


def _fit(labels: Labels, used: Iterable[FileReport]) -> tuple[Labels, list[str]]:
    """The labels of all sources in the shards, and the names of these."""
    sources = []
    for file in used:
        sources.append(file.file)
        if file.split == _BOTH_SPLITS:
            sources.append(_END_NAME.format(file.file))
            labels = labels.split(file.file, sources[-1], file.train_seconds)
    return labels.only(sources), sources
