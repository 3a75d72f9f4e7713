"""The quality of a run in tables, numbers, audio and pictures, in the files of `report_files`."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from musika_tf import audio as audio_io
from musika_tf import pictures, statistics
from musika_tf.evaluation import music, quality, reconstruction, report_files
from musika_tf.evaluation.quality import Piece, Result, System
from musika_tf.generation import Request
from musika_tf.runs.run import Run
from musika_tf.training import validation

NAME = "quality"

# What the discriminator is shown.
_JUDGED = ("real", "spliced", "shuffled", "fake")

# Metrics of pieces in two tables: title and format by name.
_PIECE_COLUMNS = {
    "rms_dbfs": ("RMS dBFS", ".1f"),
    "peak": ("peak", ".2f"),
    "clipped_share": ("clipped %", ".3f"),
    "silent_share": ("silent %", ".1f"),
    "spectral_centroid_hz": ("centroid Hz", ".0f"),
    "rolloff_hz": (f"rolloff {100 * music.ROLLOFF_SHARE:g} % Hz", ".0f"),
    "spectral_flatness": ("flatness", ".2g"),
    "channel_correlation": ("left/right r", ".2f"),
    "onsets_per_second": ("onsets a second", ".2f"),
    "tempo_bpm": ("tempo BPM", ".0f"),
    "tempo_strength": ("tempo strength", ".2f"),
}
_BAND_COLUMNS = {
    music.band_name(hz): (f"{hz}" if hz < 1000 else f"{hz // 1000}k", ".1f")
    for hz in music.BANDS_HZ
}


def evaluate(
    run: Run,
    data_dir: str | os.PathLike,
    request: Request,
    out: str | os.PathLike,
    overwrite: bool = False,
) -> str:
    """Measures the quality of a run and writes what is found; returns the tables.

    Raises:
      ValueError: as `quality.load`, or `out` holds an earlier evaluation and not `overwrite`.
    """
    report_files.require_free(out, NAME, overwrite)
    return write(quality.load(run, data_dir, request), out)


def write(system: System, out: str | os.PathLike, keep_real: bool = True) -> str:
    """The same for a run that is loaded; without `keep_real` nothing is kept of real music."""
    kept = _kept_names(system, keep_real)

    def fill(folder: pathlib.Path) -> tuple[str, dict[str, Any]]:
        values = numbers(system, quality.measure(system, _kept(system, folder, kept)))
        return report_files.markdown(_paragraphs(values, system, kept)), values

    return report_files.write(out, NAME, fill)


def _kept(system: System, folder: pathlib.Path, names: Sequence[str]) -> Iterator[Piece]:
    """All pieces; some are written on the way, as audio and as a picture."""
    rate_hz = system.config.audio.sample_rate_hz
    for piece in quality.make_pieces(system):
        if piece.name in names:
            path = folder / f"{piece.name}.wav"
            audio_io.write(path, audio_io.Audio(piece.waveform, rate_hz))
            pictures.save_picture(path.with_suffix(".png"), piece.waveform, rate_hz, piece.name)
        yield piece


def _kept_names(system: System, keep_real: bool) -> list[str]:
    """All that were generated, and perhaps the first real piece and what became of it."""
    generated = [f"{quality.GENERATED}-{index}" for index in range(system.request.n_pieces)]
    return generated + [f"{quality.RECONSTRUCTED}-0", f"{quality.REAL}-0"] * keep_real


# Tables


def _paragraphs(values: Mapping[str, Any], system: System, kept: Sequence[str]) -> Iterator[str]:
    yield from _heading(values, system.request)
    yield from _reconstruction(values)
    yield from _music(values)
    yield from _seams(values)
    yield from _latents(values)
    yield from _diagnostics(values)
    yield "## Pictures"
    yield from report_files.pictures(NAME, kept)


def _heading(values: Mapping[str, Any], request: Request) -> Iterator[str]:
    run = values["run"]
    steps = ", ".join(f"{stage} {step}" for stage, step in run["steps"].items())
    asked = report_files.asked(request, "pieces of each kind")
    yield f"# Quality of {run['name']}"
    weights = f"Weights {run['weights_sha256'][:12]}, steps: {steps}."
    yield f"{weights} {asked} Held-out: the validation split of {values['data']}."
    for name, middle in values["conditioning"].items():
        yield f"The conditioning was {name} {middle:g}, the middle of its range."


def _reconstruction(values: Mapping[str, Any]) -> Iterator[str]:
    yield "## Reconstruction of held-out music"
    yield (
        f"Left channel of at most {reconstruction.N_CROPS} crops of "
        f"{reconstruction.CROP_N_EXCERPTS} excerpts; lower is better. Multi-scale: the spectral "
        "distance that phase 2 trains. L1: mean absolute difference of scaled log magnitudes; "
        "0.1 is 4.3 dB."
    )
    columns = {
        "multi_scale": ("multi-scale", ".3f"),
        "waveform_log_magnitude_l1": ("L1 of the waveform", ".4f"),
        "decoder_log_magnitude_l1": ("L1 of the decoder's magnitudes", ".4f"),
        "kbits_per_second": ("kb/s", ".1f"),
    }
    yield report_files.named_table("way", columns, values["reconstruction"])


def _music(values: Mapping[str, Any]) -> Iterator[str]:
    yield "## Music"
    yield (
        f"Means over the pieces. Clipped: samples of {music.CLIPPED_LEVEL:g} or more. Silent: "
        f"windows of {music.SILENT_WINDOW_SECONDS:g} s below {music.SILENT_DBFS:g} dBFS. Tempo "
        f"strength: largest autocorrelation of the onset envelope at lags of "
        f"{music.SLOWEST_BPM} to {music.FASTEST_BPM} BPM; a steady beat has 1."
    )
    percent = {
        kind: row | {name: 100 * row[name] for name in ("clipped_share", "silent_share")}
        for kind, row in values["pieces"].items()
    }
    yield report_files.named_table("", _PIECE_COLUMNS, percent)
    yield "Energy in octave bands around so many Hz, in dB relative to the whole:"
    yield report_files.named_table("", _BAND_COLUMNS, values["pieces"])


def _seams(values: Mapping[str, Any]) -> Iterator[str]:
    yield "## Seams"
    yield (
        "Mean change at borders over the mean change away from them; 1: no seam. Spectral flux of "
        "waveforms, absolute change of latents. Real music has no borders: what it shows at the "
        "places where they would be is chance. p: how often as much is shown when each piece is "
        "turned along time by steps of its own, and borders fall anywhere; below 0.01: a seam."
    )
    columns = {
        f"{of} {border}_{what}": (f"{of}, {borders}" if what == "ratio" else "p", form)
        for of in ("flux", "latents")
        for border, borders in (("excerpt", "excerpts"), ("patch", "patches"))
        for what, form in (("ratio", ".2f"), ("p", ".3f"))
    }
    rows = {kind: {} for kind in values["waveform_seams"]}
    for of, part in (("flux", "waveform_seams"), ("latents", "latent_seams")):
        for kind, ratios in values[part].items():
            rows[kind] |= {f"{of} {name}": ratio for name, ratio in ratios.items()}
    yield report_files.named_table("", columns, rows)


def _latents(values: Mapping[str, Any]) -> Iterator[str]:
    minutes = {name: seconds / 60 for name, seconds in values["encoded_seconds"].items()}
    yield "## Latents"
    yield (
        f"Generated: the first two patches of {quality.N_LATENT_PIECES} pieces. Real: "
        f"{minutes[quality.HELD_OUT]:.1f} minutes of the validation split, "
        f"{minutes[quality.TRAINING]:.1f} of the training split (at most "
        f"{quality.MAX_ENCODED_SECONDS / 60:g} of each, in evenly spaced crops). Windows are "
        f"{values['window_n_latents']} latents, about 1 s."
    )
    yield (
        f"Fréchet distance to held-out latents. Of windows {statistics.N_COMPONENTS} principal "
        "components are compared, which see what changes inside them; their means, and single "
        "steps, see only what is there. That of training latents is what other pieces of the same "
        "kind leave between them: generated ones are as near when they come to 1 of it."
    )
    columns = {
        "windows": ("windows", ".3f"),
        "window_means": ("means of windows", ".3f"),
        "single_steps": ("single steps", ".3f"),
        "n_windows": ("windows", ""),
    }
    ratios = {"generated / training": values["frechet_ratios"]}
    yield report_files.named_table("latents", columns, values["frechet"] | ratios)
    yield (
        "RMS distance of a window to the nearest one of training. Far less for generated than for "
        "held-out music would mean copying."
    )
    columns = {"mean": ("mean", ".3f"), "least": ("least", ".3f"), "n_windows": ("windows", "")}
    yield report_files.named_table("windows of", columns, values["nearest"])


def _diagnostics(values: Mapping[str, Any]) -> Iterator[str]:
    """What networks say of held-out latents."""
    yield "## Time"
    found = values["diagnostics"]
    if found is None:
        yield (
            "Not told: held-out crops are shorter than two patches, or nothing labels the signals "
            "of the system in them."
        )
        return
    yield (
        "Mean logits of the discriminator, of what it has not seen. Spliced: a patch of one piece "
        "and the next patch of another. Shuffled: blocks of "
        f"{validation.SHUFFLED_N_STEPS} latents in another order. Distance: how far below real "
        "music, where generated music has 1; a discriminator that hears time puts both far below."
    )
    logits = {name: found[f"held_out/{name}_logit"] for name in _JUDGED}
    span = logits["real"] - logits["fake"]
    rows = {
        name: {"logit": logit, "distance": (logits["real"] - logit) / span if span else None}
        for name, logit in logits.items()
    }
    columns = {"logit": ("logit", ".3f"), "distance": ("distance", ".2f")}
    yield report_files.named_table("latents", columns, rows)
    yield (
        "Generated music when its coordinates are shifted along time: its mean difference from the "
        "music shifted as far is "
        f"{found['held_out/shift_ratio']:.3g} of that from the music left in place; 0: music moves "
        "with its coordinates, 1 or more: it does not."
    )


# Numbers


def numbers(system: System, result: Result) -> dict[str, Any]:
    """Everything as JSON takes it."""
    asked = system.config.conditioning.asked
    generated, training = (result.frechet[x] for x in (quality.GENERATED, quality.TRAINING))
    compared = ("windows", "window_means", "single_steps")
    return {
        **report_files.numbers(system.about, system.request),
        "conditioning": {signal.name: signal.middle for signal in asked},
        **dataclasses.asdict(result),
        "frechet_ratios": {name: generated[name] / training[name] for name in compared},
    }
