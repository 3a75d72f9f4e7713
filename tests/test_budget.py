"""A stage is as long as its time allows, and trying that out leaves it as it was."""

from __future__ import annotations

import pytest
from comparing import require_same
from test_loop import Batches, LineTrainer

from musika_tf.training import budget
from musika_tf.training.loop import LoopSettings
from musika_tf.training.stage import StartedStage


def test_what_fits_into_an_hour():
    # 10 % for validations of 30 s are 12; of the rest, less the one before the first step, 0.5 s a
    # step; a checkpoint every five minutes, and a call of ten seconds.
    assert budget._fitting(3600.0, 0.5, 30.0) == LoopSettings(
        n_steps=(3600 - 13 * 30) * 2,
        n_steps_per_call=20,
        checkpoint_n_steps=600,
        sample_n_steps=535,
    )
    assert budget._fitting(-5.0, 0.5, 30.0).n_steps == 20


def test_it_is_tried_out_and_left_as_it_was(tmp_path):
    trainer = LineTrainer()
    before = {name: v.numpy() for name, v in trainer.named_variables().items()}
    started = StartedStage(trainer, Batches(seconds_a_batch=0.02), tmp_path)
    settings = budget.settings_within(started, seconds=20.0)
    # Two threads read batches.
    assert 400 < settings.n_steps < 2000
    assert trainer.n_steps == settings.n_steps
    require_same(trainer.named_variables(), before)
    assert not list(tmp_path.iterdir())


def test_steps_that_are_dear_late_are_counted(tmp_path, monkeypatch):
    """The last 40 % take three times as long, as in phase 2 of an autoencoder."""
    trainer, now = LineTrainer(), [0.0]

    def take(n_steps: int) -> None:
        now[0] += n_steps * (0.3 if int(trainer.state["step"]) >= 6000 else 0.1)

    monkeypatch.setattr(budget, "_compiled", lambda started: take)
    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])
    started = StartedStage(trainer, Batches(), tmp_path)
    _, step_seconds = budget._tried(started, seconds=100.0)
    assert step_seconds == pytest.approx(0.6 * 0.1 + 0.4 * 0.3)
