"""The whole report of a model: every evaluation, samples to listen to, one page, one summary.

OUT/index.html     all of it, with players and pictures
OUT/results.md     its tables alone
OUT/NAME.md, …     each evaluation, see `report_files`
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from musika_tf import files, generation
from musika_tf.conditioning import controls as controls_lib
from musika_tf.evaluation import (
    adherence,
    adherence_report,
    distances,
    long_form,
    page,
    quality,
    quality_report,
    references,
    report_files,
    speed,
)
from musika_tf.evaluation.embeddings import Embedding
from musika_tf.evaluation.quality import System
from musika_tf.generation import Request
from musika_tf.player import Player, open_player
from musika_tf.runs.run import Run

SAMPLES = "samples"
# In the order of the page.
PARTS = (
    SAMPLES,
    long_form.NAME,
    distances.NAME,
    adherence_report.NAME,
    quality_report.NAME,
    speed.NAME,
)
_RESULTS = "results.md"
_SAMPLE_SECONDS, _N_SAMPLES = 23.0, 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is asked for.

    Attributes:
      adherence: of a conditional model; its request is that of every evaluation.
      long_seconds, n_long: length and number of the long pieces.
      stream_seconds: how long a stream is played to see how fast, and whether memory grows.
      keep_real: keep audio of held-out music and its reconstruction, which needs its licence.

    Raises:
      ValueError: a value is out of range.
    """

    adherence: adherence.Settings
    long_seconds: float = 240.0
    n_long: int = 8
    stream_seconds: float = 3600.0
    keep_real: bool = False

    def __post_init__(self):
        if self.n_long < 2 or self.long_seconds <= 2 * long_form.LEAST_LAG:
            raise ValueError(
                f"{self.n_long} long pieces of {self.long_seconds:g} s: give two or more, longer "
                f"than {2 * long_form.LEAST_LAG} s"
            )

    @property
    def request(self) -> Request:
        """That of every evaluation."""
        return self.adherence.request


def evaluate(
    run: Run,
    data_dir: str | os.PathLike,
    settings: Settings,
    embeddings: Sequence[Embedding],
    out: str | os.PathLike,
    overwrite: bool = False,
) -> str:
    """Makes the report of a run; returns the tables.

    Args:
      run: with a trained autoencoder and GAN, or released weights.
      data_dir: waveform shards with both splits, best of music that was not trained on.
      embeddings: what hears; the first one also the long pieces.

    Raises:
      ValueError: as `quality.load` and `adherence.plan`, or `out` holds an earlier evaluation and
        not `overwrite`.
    """
    for name in PARTS:
        report_files.require_free(out, name, overwrite)
    system, player = quality.load(run, data_dir, settings.request), open_player(run.folder)
    is_followed = any(s.name in adherence.MEASURABLE for s in player.config.conditioning.asked)
    if is_followed:
        adherence.plan(player.config, settings.adherence)
    for name, fill in _fills(system, player, settings, embeddings).items():
        report_files.write(out, name, fill)
    quality_report.write(system, out, settings.keep_real)
    if is_followed:
        found = references.measure(
            player.config, settings.request.seconds, data_dir, system.trained.autoencoder
        )
        adherence_report.evaluate(player, settings.adherence, out, found, True, overwrite)
    title = system.about["run"]["name"]
    page.write(out, title, PARTS)
    return _write_results(pathlib.Path(out), title)


def _fills(
    system: System, player: Player, settings: Settings, embeddings: Sequence[Embedding]
) -> dict[str, report_files.Fill]:
    """What fills the folder of each new part; speed first, while the process is young."""
    controls = controls_lib.middles(player.config.conditioning.signals)
    asked = dataclasses.replace(settings.request, controls=controls, n_pieces=1)
    streamed = dataclasses.replace(asked, seconds=settings.stream_seconds)
    long = dataclasses.replace(asked, seconds=settings.long_seconds, n_pieces=settings.n_long)
    return {
        speed.NAME: functools.partial(speed.evaluate, system.run.folder, streamed),
        SAMPLES: functools.partial(_samples, system, player, asked),
        distances.NAME: functools.partial(
            distances.evaluate, system, player, settings.adherence, embeddings
        ),
        long_form.NAME: functools.partial(long_form.evaluate, system, player, long, embeddings[0]),
    }


def _samples(
    system: System, player: Player, asked: Request, folder: pathlib.Path
) -> tuple[str, dict[str, Any]]:
    """Pieces of the seeds that follow each other, none picked, with what makes each again."""
    paragraphs = ["# Samples", "Seeds as they come, none picked."]
    for seed in range(asked.seed, asked.seed + _N_SAMPLES):
        request = dataclasses.replace(asked, seed=seed, seconds=_SAMPLE_SECONDS)
        waveform, name = generation.sample(player, request), f"seed-{seed}"
        report_files.save_sample(folder, name, waveform, player.config.audio.sample_rate_hz)
        paragraphs += [
            report_files.command(system.run, request),
            *report_files.pictures(SAMPLES, [name]),
        ]
    return report_files.markdown(paragraphs), report_files.numbers(system.about, asked)


def _write_results(out: pathlib.Path, title: str) -> str:
    """The tables of all parts but the samples, one after the other."""
    paths = [out / f"{name}.md" for name in PARTS if name != SAMPLES]
    texts = [page.without_pictures(path.read_text("utf-8")) for path in paths if path.exists()]
    text = "\n".join([f"## {title}\n", *(page.lowered(text, 2) for text in texts)])
    files.write_text(out / _RESULTS, text)
    return text
