"""Long pieces: do they keep their style, and do they move as real music does, to their end.

A vector of an `Embedding` a second, without the mean of all seconds of its kind; two seconds are as
alike as the cosine of the angle between theirs, -1 to 1. Coherence is how much more alike seconds
of one piece are than seconds of two: of pieces that all sound the same it is 0.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from musika_tf import generation, progress, statistics
from musika_tf.evaluation import motion, quality, report_files
from musika_tf.evaluation.embeddings import Embedding
from musika_tf.evaluation.quality import System
from musika_tf.generation import Request
from musika_tf.player import Player

NAME = "long_form"
# Pictures of each kind.
_N_SHOWN = 3
# Seconds of one piece that are nearer than this are alike anyway, and are not compared.
LEAST_LAG = 5


def evaluate(
    system: System,
    player: Player,
    request: Request,
    embedding: Embedding,
    folder: pathlib.Path,
) -> tuple[str, dict[str, Any]]:
    """Makes the pieces of a request and measures them beside the longest real ones; tables, and
    numbers as JSON takes them."""
    audio = player.config.audio
    numbers = progress.bar(range(request.n_pieces), desc="long form", unit=" pieces")
    generated = [generation.sample(player, request, number) for number in numbers]
    waveforms = {quality.REAL: longest(system, request), quality.GENERATED: generated}
    heard = {
        kind: [embedding(waveform, audio.sample_rate_hz) for waveform in group]
        for kind, group in waveforms.items()
    }
    pieces, moves = directions(heard), motion.metrics(waveforms, audio)
    similarity_picture(pieces).savefig(folder / "similarity.png", dpi=100)
    worst = motion.worst(moves[quality.GENERATED])
    for number in sorted({0, worst}):
        name = _sample_name(number)
        report_files.save_sample(folder, name, generated[number], audio.sample_rate_hz)
    values = report_files.numbers(system.about, request) | {
        "embedding": {"name": embedding.name, "weights_sha256": embedding.weights_sha256},
        "coherence": coherences(pieces),
        "motion": moves,
        "worst": worst,
    }
    return report_files.markdown(_paragraphs(values, system, request)), values


def _sample_name(number: int) -> str:
    return f"generated-{number}"


def longest(system: System, request: Request) -> list[np.ndarray]:
    """The longest held-out pieces, as many and at most as long as are asked for: float32
    [n_samples, 2], rising in nothing but their names."""
    sources = sorted(system.shards.split("validation"), key=lambda s: (-s.n_rows, s.name))
    most = round(request.seconds * system.config.audio.sample_rate_hz)
    return [
        quality.crop(system.shards, (source, 0), min(most, source.n_rows))
        for source in sources[: request.n_pieces]
    ]


def directions(pieces: Mapping[str, Sequence[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """Vectors [n_seconds, d] of length 1 without the mean of their kind: their products are what is
    called alike."""
    return {kind: _of_kind(group) for kind, group in pieces.items()}


def _of_kind(pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    centred = [piece - np.concatenate(pieces).mean(axis=0) for piece in pieces]
    return [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in centred]


def coherences(pieces: Mapping[str, Sequence[np.ndarray]]) -> dict[str, dict[str, float]]:
    """Of each kind, over as many seconds as the shortest real piece has; and of what is generated
    over all of them."""
    least = min(len(piece) for piece in pieces[quality.REAL])
    found = {kind: coherence([x[:least] for x in group]) for kind, group in pieces.items()}
    return found | {"generated, whole": coherence(pieces[quality.GENERATED])}


def coherence(pieces: Sequence[np.ndarray]) -> dict[str, float]:
    """Of pieces [n_seconds, d] of one length, more than LEAST_LAG.

    Means of how alike seconds are, -1 to 1: `within` a piece, LEAST_LAG apart or more, `across` two
    pieces, and their `difference`; `n_pieces`, and `seconds`, so much of each from its beginning.
    """
    length = len(pieces[0])
    lags = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    within = float(np.mean([(x @ x.T)[lags >= LEAST_LAG].mean() for x in pieces]))
    # The mean over pairs of different pieces, from the means over all and over equal ones.
    means = np.stack([piece.mean(axis=0) for piece in pieces])
    products, n = means @ means.T, len(pieces)
    across = float((products.sum() - np.trace(products)) / max(1, n * (n - 1)))
    alike = {"within": within, "across": across}
    return alike | {"n_pieces": n, "seconds": length, "difference": within - across}


def similarity_picture(pieces: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Self-similarity matrices: a row a kind, a column a piece, bright where seconds are alike."""
    drawing = Figure(figsize=(4 * _N_SHOWN, 4.2 * len(pieces)), layout="constrained")
    grid = drawing.subplots(len(pieces), _N_SHOWN, squeeze=False)
    for row, (kind, group) in zip(grid, pieces.items(), strict=True):
        for index, axes in enumerate(row):
            axes.set_axis_off()
            if index < len(group):
                axes.set_axis_on()
                axes.imshow(
                    group[index] @ group[index].T, vmin=-0.5, vmax=1, cmap="magma", origin="lower"
                )
                axes.set(title=f"{kind} {index}", xlabel="time in s", ylabel="time in s")
    return drawing


def _paragraphs(values: Mapping[str, Any], system: System, request: Request) -> list[str]:
    columns = {
        "within": ("within a piece", ".3f"),
        "across": ("across pieces", ".3f"),
        "difference": ("difference", ".3f"),
        "n_pieces": ("pieces", ""),
        "seconds": ("seconds of each", ""),
    }
    return [
        "# Long form",
        f"{report_files.asked(request, 'generated pieces')} Real: the longest of the validation "
        f"split of {values['data']}. How alike two seconds are: cosine of what "
        f"{values['embedding']['name']} hears, without the mean of the kind; within a piece of "
        f"seconds {LEAST_LAG} s apart or more.",
        report_files.named_table("pieces", columns, values["coherence"]),
        *report_files.pictures(NAME, ["similarity"]),
        "How much they move: spectral flux of windows of five seconds, and how many of these are "
        "out of the range of all windows of real pieces.",
        report_files.named_table("pieces", motion.COLUMNS, _motion_rows(values["motion"])),
        f"Piece 0, and piece {values['worst']}, the one that is least like real music in that.",
        report_files.command(system.run, request),
        *report_files.pictures(NAME, map(_sample_name, sorted({0, values["worst"]}))),
    ]


def _motion_rows(
    moves: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, Mapping[str, float]]:
    """Means of real pieces; each generated one."""
    return {"real, mean": statistics.means(moves[quality.REAL])} | {
        f"generated {number}": row for number, row in enumerate(moves[quality.GENERATED])
    }
