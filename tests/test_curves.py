"""Curves that a stage wrote, read back."""

import numpy as np

from musika_tf.runs import curves
from musika_tf.training import logs


def test_curves_are_read_back_with_steps_taken_again(tmp_path):
    for values in (((0, 1.0), (10, 0.5), (20, 0.4)), ((10, 0.45), (30, 0.3))):
        writer = logs.SummaryWriter(tmp_path)
        for step, value in values:
            writer.scalars({"held_out/frechet": value}, step)
        writer.close()
    (curve,) = curves.read(tmp_path).values()
    assert curve.steps.tolist() == [0, 10, 20, 30]
    np.testing.assert_allclose(curve.values, [1.0, 0.45, 0.4, 0.3], rtol=1e-6)
    assert curves.read(tmp_path / "none") == {}


def test_pauses_are_no_training(monkeypatch):
    times = [100.0, 160.0, 220.0, 9000.0, 9030.0]
    events = [curves.Event(wall_time=time) for time in times]
    monkeypatch.setattr(curves, "_events", lambda folder: iter(events))
    assert curves.duration_seconds("anywhere") == 150.0
