"""Audio files to waveform shards and labels, with a report that accounts for each."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from musika_tf import files as files_lib
from musika_tf.conditioning import labels as labels_lib
from musika_tf.conditioning.labels import Labels
from musika_tf.config import N_CHANNELS, AudioConfig
from musika_tf.data import annotation, datasets
from musika_tf.data.annotation import Annotation, AnnotationTask, Annotator, Waveform
from musika_tf.data.audio_folder import Found, find_audio_files
from musika_tf.data.decoding import AudioFile, Content, Decoded, Decoder
from musika_tf.data.earlier_shards import REPORT_NAME, EarlierShards
from musika_tf.data.preparation_report import FileReport, Report
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.stored_rows import StoredRows
from musika_tf.data.workers import LocalWorkers, Workers

# Share of its length that a file gives for validation whose end is held out.
_END_SHARE = 0.1
# Split of such a file, and what its second part is called.
_BOTH_SPLITS = "train+validation"
_END_NAME = "{} (end)"

ONE_WORKER = LocalWorkers()


def prepare(
    recordings: str | os.PathLike | Found,
    data_dir: str | os.PathLike,
    config: AudioConfig,
    *,
    validation_share: float = 0.05,
    example_n_samples: int = 0,
    workers: Workers = ONE_WORKER,
    overwrite: bool = False,
    strict: bool = False,
    stuck_after_seconds: int = 60,
    annotators: Sequence[Annotator] = (),
    labels: Mapping[str, Labels] | None = None,
) -> Report:
    """Writes all usable audio below a folder, or of a data set, as one folder of waveform shards.

    Files are decoded in processes of their own and kept in the folder `data_dir`.decoded until the
    shards are complete, so that a run that was stopped goes on where it was; unchanged files of
    earlier shards in `data_dir` are copied from there. Memory does not grow with the length or
    number of files, and the shards do not depend on `workers`. What annotators find is remembered
    in the folder `data_dir`.annotations, which may be deleted.

    Where no data set tells whether a file is held out, that follows from its own relative path: it
    is if the hash of that path lies in the first `validation_share` of all hashes. So files that
    are added later leave the others in their split. Two exceptions make sure that both splits have
    something: if no file is held out, that of the lowest hash is, and if all are, that of the
    highest is not. A single file is cut, and its end held out. Of files with the same audio the
    first by name is used.

    Args:
      recordings: folder to search, with its subfolders; or what `recordings.find` or `mix` found.
      data_dir: shard folder to make; `report.csv` lies there too.
      config: gives the sample rate, and the length below which a file is too short.
      validation_share: share of the files to hold out, above 0 and at most 0.5; of few files it
        can be more or less.
      example_n_samples: of so few files that the share is less than one, the end of each of ten
        times this length or more is held out in place of one whole file, which may be nothing like
        the others; 0: never.
      workers: processes that read, of this machine or of several.
      overwrite: replace earlier shards in `data_dir`.
      strict: do not skip files, but fail.
      stuck_after_seconds: a decoder that gives nothing for so long is stopped; 0: none is.
      annotators: each writes the labels of one signal, labels-NAME.csv, beside the shards.
      labels: more labels to lie there, by signal name; of them, what belongs to files in the
        shards.

    Raises:
      ValueError: no audio file, none usable, one not usable and `strict`, a bad share, something
        lies in `data_dir` already, or labels that do not belong to these files.
    """
    labels = labels or {}
    if not 0 < validation_share <= 0.5:
        raise ValueError(f"validation_share={validation_share} must be above 0 and at most 0.5")
    found = recordings if isinstance(recordings, Found) else find_audio_files(recordings)
    _require_labels(labels, annotators, [file.name for file in found.files])
    metadata = datasets.waveform_metadata(config)
    writer = ShardWriter(data_dir, N_CHANNELS, np.int16, metadata, overwrite=overwrite)
    base = os.path.abspath(data_dir)
    decoder = Decoder(config.sample_rate_hz, f"{base}.decoded", stuck_after_seconds)
    contents, n_remembered = _decode_all(
        found.files, decoder, EarlierShards(data_dir, config), config, workers
    )
    reports = _reports(found, contents, config, validation_share, example_n_samples)
    report = Report(tuple(reports), found.others, n_remembered)
    _require_used(report, strict, pathlib.Path(decoder.kept_dir, REPORT_NAME))
    waveforms = [Waveform(file.file, contents[file.file].rows) for file in report.used]
    task = AnnotationTask(tuple(annotators), config.sample_rate_hz, f"{base}.annotations")
    annotations = {}
    if annotators:
        results = workers.map(task, waveforms, "annotating")
        annotations = {x.name: rows for x, rows in zip(waveforms, results, strict=True)}
    weights = _weights(found, report)
    with writer:
        for file in sorted(report.used, key=lambda file: hash_position(file.file)):
            _write(writer, file, contents[file.file].rows, config, weights.get(file.file, 1.0))
        lines = _add_labels(writer, report, annotators, annotations, labels)
        writer.add_text(REPORT_NAME, report.to_csv())
    shutil.rmtree(decoder.kept_dir, ignore_errors=True)
    return dataclasses.replace(report, labels=tuple(lines))


def hash_position(name: str) -> float:
    """Where the hash of a name lies among all hashes, from 0 to 1; the same on every machine."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _decode_all(
    files: Sequence[AudioFile],
    decoder: Decoder,
    earlier: EarlierShards,
    config: AudioConfig,
    workers: Workers,
) -> tuple[dict[str, Content], int]:
    """Contents by file name; and of how many of them an earlier run knew."""
    contents, unknown = {}, []
    for file in files:
        content = earlier.find(file)
        # It may have been too short until now.
        if content and (content.rows or _unusable_because(content.decoded, config)):
            contents[file.name] = content
        elif kept := decoder.kept(file):
            contents[file.name] = decoder.content(file, kept)
        else:
            unknown.append(file)
    results = workers.map(decoder, unknown, "reading") if unknown else ()
    for file, decoded in zip(unknown, results, strict=True):
        contents[file.name] = decoder.content(file, decoded)
    return contents, len(files) - len(unknown)


def _unusable_because(decoded: Decoded, config: AudioConfig) -> str:
    """Why what was decoded cannot be used, or ''."""
    needed, rate = config.pair_n_samples, config.sample_rate_hz
    if decoded.unusable_because or decoded.n_samples >= needed:
        return decoded.unusable_because
    seconds = decoded.n_samples / rate
    return f"too short: {seconds:.2f} s, a training pair takes {needed / rate:.2f} s"


def _reports(
    found: Found,
    contents: Mapping[str, Content],
    config: AudioConfig,
    validation_share: float,
    example_n_samples: int,
) -> list[FileReport]:
    """What becomes of each file, sorted by name."""
    reasons, first_names = {}, {}
    for file in found.files:
        decoded = contents[file.name].decoded
        reason = _unusable_because(decoded, config)
        first_name = first_names.setdefault(decoded.digest, file.name) if not reason else file.name
        if first_name != file.name:
            reason = f"duplicate: the same audio as {first_name}"
        reasons[file.name] = reason
    used = [file for file in found.files if not reasons[file.name]]
    splits = _splits(used, validation_share)
    if example_n_samples and len(used) < 1 / validation_share:
        splits |= _ends(used, contents, example_n_samples)
    reports = [
        FileReport(name, "", 0.0, 0.0, f"folder that cannot be entered: {reason}", Decoded())
        for name, reason in found.closed.items()
    ]
    for name, reason in reasons.items():
        decoded, split = contents[name].decoded, splits.get(name, "")
        n_train = decoded.n_samples if "train" in split else 0
        n_held_out = decoded.n_samples if split == "validation" else 0
        if split == _BOTH_SPLITS:
            n_held_out = _end_n_samples(name, decoded.n_samples, config)
            n_train -= n_held_out
        seconds = n_train / config.sample_rate_hz, n_held_out / config.sample_rate_hz
        reports.append(FileReport(name, split, *seconds, reason, decoded))
    return sorted(reports, key=lambda report: report.file)


def _splits(files: Sequence[AudioFile], validation_share: float) -> dict[str, str]:
    """The split of each file that is used."""
    files = sorted(files, key=lambda file: hash_position(file.name))
    splits = {
        file.name: file.split
        or ("validation" if hash_position(file.name) < validation_share else "train")
        for file in files
    }
    free = [file.name for file in files if not file.split]
    if len(files) == len(free) == 1:
        return {free[0]: _BOTH_SPLITS}
    for name, split in ((free[0], "validation"), (free[-1], "train")) if free else ():
        if split not in splits.values():
            splits[name] = split
    return splits


def _ends(
    files: Sequence[AudioFile], contents: Mapping[str, Content], example_n_samples: int
) -> dict[str, str]:
    """Splits of files that no data set puts in one, if the end of any is long enough."""
    free = [file.name for file in files if not file.split]
    lengths = {name: contents[name].decoded.n_samples for name in free}
    long = [name for name in free if _END_SHARE * lengths[name] >= example_n_samples]
    return dict.fromkeys(free, "train") | dict.fromkeys(long, _BOTH_SPLITS) if long else {}


def _end_n_samples(name: str, n_samples: int, config: AudioConfig) -> int:
    """How much of the end of a file is held out.

    That is a tenth, or more if a validation hears more, as long as twice that is left to train on;
    in any case a training pair.
    """
    needed, wanted = config.pair_n_samples, datasets.held_out_n_samples(config)
    least = wanted if n_samples >= 3 * wanted else needed
    n_held_out = max(least, round(_END_SHARE * n_samples))
    if n_samples - n_held_out < needed:
        rate = config.sample_rate_hz
        raise ValueError(
            f"the only usable file, {name}, is {n_samples / rate:.2f} s long; training and "
            f"validation together need {2 * needed / rate:.2f} s: add more audio"
        )
    return n_held_out


def _require_used(report: Report, strict: bool, report_path: pathlib.Path) -> None:
    """Raises ValueError if no file, or where that is asked for not every file, can be used."""
    n_files, skipped = len(report.files), report.skipped
    if report.used and not (strict and skipped):
        return
    files_lib.write_text(report_path, report.to_csv())
    how_many = f"strict: {len(skipped)} of the {n_files} audio files cannot"
    if not report.used:
        how_many = f"none of the {n_files} audio files can"
    raise ValueError(
        f"{how_many} be used: {report.skipped_kinds} (such as {skipped[0].file}, "
        f"{skipped[0].skipped_because}); {report_path} names all"
    )


def _weights(found: Found, report: Report) -> dict[str, float]:
    """Of a mixture, how often each file is drawn, so that the parts have their shares.

    Raises:
      ValueError: a part has nothing to train on.
    """
    parts = {file.name: file.part for file in found.files}
    seconds = dict.fromkeys(found.shares, 0.0)
    for file in report.used if seconds else ():
        seconds[parts[file.file]] += file.train_seconds
    empty = [part for part, n_seconds in seconds.items() if not n_seconds]
    if empty:
        raise ValueError(f"{empty[0]}, a part of the mixture, has no file to train on")
    scale = sum(seconds.values()) / max(sum(found.shares.values()), 1e-9)
    weights = {part: found.shares[part] * scale / seconds[part] for part in seconds}
    return {name: weights[part] for name, part in parts.items() if part in weights}


def _write(
    writer: ShardWriter, file: FileReport, rows: StoredRows, config: AudioConfig, weight: float
) -> None:
    """Writes one file, or its two parts."""
    if file.split != _BOTH_SPLITS:
        writer.add(file.file, rows, file.split, weight=weight)
        return
    begin, end = rows.cut(round(file.train_seconds * config.sample_rate_hz))
    writer.add(file.file, begin, "train", weight=weight)
    writer.add(_END_NAME.format(file.file), end, "validation")


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
