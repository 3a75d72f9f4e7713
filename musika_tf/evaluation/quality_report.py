"""The quality of a run in tables, numbers, audio and pictures: what `musika-evaluate --quality`
leaves, in the files of `report_files`.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from musika_tf import audio as audio_io
from musika_tf import pictures
from musika_tf.evaluation import music, quality, reconstruction
from musika_tf.evaluation.quality import GENERATED, Piece, Result, System
from musika_tf.evaluation.report_files import ReportFiles, optional, table
from musika_tf.generation import Request
from musika_tf.runs.run import Run

FORMAT_VERSION = 1

_FILES = ReportFiles("quality")
# Metrics of pieces in two tables: name, title, factor, format.
_Column = tuple[str, str, int, str]
_PIECE_COLUMNS = (
    ("rms_dbfs", "RMS dBFS", 1, ".1f"),
    ("peak", "peak", 1, ".2f"),
    ("clipped_share", "clipped %", 100, ".3f"),
    ("silent_share", "silent %", 100, ".1f"),
    ("spectral_centroid_hz", "centroid Hz", 1, ".0f"),
    ("rolloff_hz", f"rolloff {100 * music.ROLLOFF_SHARE:g} % Hz", 1, ".0f"),
    ("spectral_flatness", "flatness", 1, ".2g"),
    ("channel_correlation", "left/right r", 1, ".2f"),
    ("onsets_per_second", "onsets a second", 1, ".2f"),
    ("tempo_bpm", "tempo BPM", 1, ".0f"),
    ("tempo_strength", "tempo strength", 1, ".2f"),
)
_BAND_COLUMNS = tuple(
    (music.band_name(hz), f"{hz}" if hz < 1000 else f"{hz // 1000}k", 1, ".1f")
    for hz in music.BANDS_HZ
)


def evaluate(
    run: Run,
    data_dir: str | os.PathLike,
    request: Request,
    out: str | os.PathLike,
    overwrite: bool = False,
) -> str:
    """Measures the quality of a run and writes what is found; nothing until all is there.

    Args:
      run, data_dir, request: as for `quality.load`.
      out: folder; made if it is missing.
      overwrite: replace what an earlier call left in `out`.

    Returns:
      The tables.

    Raises:
      ValueError: as `quality.load`, or `out` holds an earlier evaluation.
    """
    out = pathlib.Path(out)
    _FILES.require_free(out, overwrite)
    system = quality.load(run, data_dir, request)
    with _FILES.written_aside(out) as places:
        result = quality.measure(system, _kept(system, places.folder))
        values = numbers(run, data_dir, system, result)
        text = tables(values, system, result)
        places.write(text, values)
    return text


# Files


def _kept(system: System, folder: pathlib.Path) -> Iterator[Piece]:
    """All pieces; some are written on the way, as audio and as a picture."""
    rate_hz = system.config.audio.sample_rate_hz
    for piece in quality.make_pieces(system):
        if piece.name in _kept_names(system):
            path = folder / f"{piece.name}.wav"
            audio_io.write(path, audio_io.Audio(piece.waveform, rate_hz))
            pictures.save_picture(path.with_suffix(".png"), piece.waveform, rate_hz, piece.name)
        yield piece


def _kept_names(system: System) -> list[str]:
    """All that were generated, and of the others what belongs to the first real piece."""
    generated = [f"{GENERATED}-{index}" for index in range(system.request.n_samples)]
    return [*generated, f"{quality.RECONSTRUCTED}-0", f"{quality.REAL}-0"]


# Tables


def tables(values: Mapping[str, Any], system: System, result: Result) -> str:
    """Everything in Markdown.

    Args:
      values: of `numbers`.
      system, result: what was measured.
    """
    parts = (
        _heading(values, system),
        _reconstruction_table(result),
        _pieces_tables(result),
        _seams_table(result),
        _latents_tables(result),
        _pictures(system),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _heading(values: Mapping[str, Any], system: System) -> Iterator[str]:
    request, run = system.request, values["run"]
    steps = ", ".join(f"{stage} {step}" for stage, step in run["steps"].items())
    yield f"# Quality of {run['name']}"
    yield ""
    yield (
        f"Steps: {steps}. {request.n_samples} pieces of each kind, {request.seconds:g} s each, "
        f"seed {request.seed}, truncation {request.truncation:g}. Held-out: the validation split "
        f"of {values['data']}."
    )
    for name, middle in values["conditioning"].items():
        yield ""
        yield f"The conditioning was {name} {middle:g}, the middle of its range."


def _reconstruction_table(result: Result) -> Iterator[str]:
    yield from ("", "## Reconstruction of held-out music", "")
    yield (
        f"Left channel of at most {reconstruction.N_CROPS} crops of "
        f"{reconstruction.CROP_N_EXCERPTS} excerpts; lower is better. Multi-scale: the spectral "
        "distance that phase 2 trains. L1: mean absolute difference of scaled log magnitudes; "
        "0.1 is 4.3 dB."
    )
    yield ""
    yield from table(
        ("way", "multi-scale", "L1 of the waveform", "L1 of the decoder's magnitudes"),
        (
            (
                way,
                f"{distances.multi_scale:.3f}",
                f"{distances.waveform_log_magnitude_l1:.4f}",
                optional(distances.decoder_log_magnitude_l1, ".4f"),
            )
            for way, distances in result.reconstruction.items()
        ),
    )


def _pieces_tables(result: Result) -> Iterator[str]:
    yield from ("", "## Music", "")
    yield (
        f"Means over the pieces. Clipped: samples of {music.CLIPPED_LEVEL:g} or more. Silent: "
        f"windows of {music.SILENT_WINDOW_SECONDS:g} s below {music.SILENT_DBFS:g} dBFS. Tempo "
        f"strength: largest autocorrelation of the onset envelope at lags of "
        f"{music.SLOWEST_BPM} to {music.FASTEST_BPM} BPM; a steady beat has 1."
    )
    yield ""
    yield from _pieces_table(result, _PIECE_COLUMNS)
    yield ""
    yield "Energy in octave bands around so many Hz, in dB relative to the whole:"
    yield ""
    yield from _pieces_table(result, _BAND_COLUMNS)


def _pieces_table(result: Result, columns: Sequence[_Column]) -> list[str]:
    header = ("", *(column_title for _, column_title, *_ in columns))
    rows = (
        (kind, *(format(factor * values[name], form) for name, _, factor, form in columns))
        for kind, values in result.pieces.items()
    )
    return table(header, rows)


def _seams_table(result: Result) -> Iterator[str]:
    yield from ("", "## Seams", "")
    yield (
        "Mean change at borders over the mean change away from them; 1: no seam. Spectral flux of "
        "waveforms, absolute change of latents. Real music has no borders: what it shows at the "
        "places where they would be is chance."
    )
    yield ""
    header = ("", "flux, excerpts", "flux, patches", "latents, excerpts", "latents, patches")
    rows = []
    for kind, flux in result.waveform_seams.items():
        ratios = (*flux.values(), *result.latent_seams.get(kind, {}).values())
        cells = [optional(ratio, ".2f") for ratio in ratios]
        rows.append((kind, *cells, *[""] * (len(header) - 1 - len(cells))))
    yield from table(header, rows)


def _latents_tables(result: Result) -> Iterator[str]:
    minutes = {name: seconds / 60 for name, seconds in result.encoded_seconds.items()}
    yield from ("", "## Latents", "")
    yield (
        f"Generated: the first two patches of {quality.N_LATENT_PIECES} pieces. Real: "
        f"{minutes[quality.HELD_OUT]:.1f} minutes of the validation split, "
        f"{minutes[quality.TRAINING]:.1f} of the training split (at most "
        f"{quality.MAX_ENCODED_SECONDS / 60:g} of each, in evenly spaced crops). Windows are "
        f"{result.window_n_latents} latents, about {quality.WINDOW_SECONDS:g} s."
    )
    yield ""
    yield (
        "Fréchet distance to held-out latents. That of training latents is what other pieces of "
        "the same kind leave between them."
    )
    yield ""
    yield from table(
        ("latents", "single steps", "means of windows", "windows"),
        (
            (name, f"{d.single_steps:.3f}", f"{d.window_means:.3f}", f"{d.n_windows}")
            for name, d in result.frechet.items()
        ),
    )
    yield ""
    yield (
        "RMS distance of a window to the nearest one of training. Far less for generated than for "
        "held-out music would mean copying."
    )
    yield ""
    yield from table(
        ("windows of", "mean", "least", "windows"),
        (
            (name, f"{d.mean:.3f}", f"{d.least:.3f}", f"{d.n_windows}")
            for name, d in result.nearest.items()
        ),
    )


def _pictures(system: System) -> Iterator[str]:
    yield from ("", "## Pictures")
    for name in _kept_names(system):
        yield ""
        yield f"![{name}]({_FILES.folder}/{name}.png)"


# Numbers


def numbers(
    run: Run, data_dir: str | os.PathLike, system: System, result: Result
) -> dict[str, Any]:
    """Everything as JSON takes it; of folders only the last part."""
    now = datetime.datetime.now(datetime.UTC)
    request, provenance = system.request, run.provenance()
    return {
        "format_version": FORMAT_VERSION,
        "created_utc": now.isoformat(timespec="seconds"),
        "run": {
            "name": run.folder.resolve().name,
            "encoder_fingerprint": run.encoder_fingerprint(),
            "steps": {stage: known["step"] for stage, known in provenance.items()},
        },
        "data": pathlib.Path(data_dir).resolve().name,
        "seconds": request.seconds,
        "seed": request.seed,
        "truncation": request.truncation,
        "n_samples": request.n_samples,
        "conditioning": {
            signal.name: signal.middle for signal in system.config.conditioning.signals
        },
        **dataclasses.asdict(result),
    }
