"""The loop: steps counted, checkpoints, exact resume, signals."""

import os
import pathlib
import signal
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from comparing import require_same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from musika_tf.data.batches import ArraySpec
from musika_tf.runs import checkpoint
from musika_tf.training import devices
from musika_tf.training.loop import LoopSettings, train
from musika_tf.training.trainer import Samples, Trainer
from musika_tf.training_config import TrainingConfig


class LineTrainer(Trainer):
    """Fits y = 3x + 1."""

    best_metric = "held_out/error"

    def __init__(self, precision="float32", batch_size=8):
        super().__init__(
            TrainingConfig(batch_size=batch_size, learning_rate=0.05, precision=precision)
        )
        inputs = keras.Input((1,))
        self.network = keras.Model(inputs, keras.layers.Dense(1, name="dense")(inputs))
        self.networks = {"line": self.network}
        self.trained = {"line": self.network.trainable_variables}
        self._finish_building()

    def gradients(self, x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.network(x) - (3.0 * x + 1.0)))
            target = self.target(loss)
        gradients = {"line": tape.gradient(target, self.trained["line"])}
        return gradients, {"line/loss": loss, "line/mean_input": tf.reduce_mean(x)}

    def validate(self):
        return {"held_out/error": abs(float(self.network(tf.constant([[1.0]]))[0, 0]) - 4.0)}

    def sample(self):
        tone = 0.1 * np.sin(np.arange(4096) / 10).astype(np.float32)
        return Samples({"tone": tone[:, None]}, 22_050, references={"original": tone[:, None]})


class Batches:
    """Batch n is drawn from seed n alone; optionally slow."""

    array_specs = (ArraySpec((8, 1), np.dtype(np.float32)),)

    def __init__(self, seconds_a_batch=0.0):
        self.seconds_a_batch = seconds_a_batch

    def __call__(self, step):
        time.sleep(self.seconds_a_batch)
        return (np.random.default_rng([0, int(step)]).normal(size=(8, 1)).astype(np.float32),)


def settings(n_steps, **changes) -> LoopSettings:
    periods = {"n_steps_per_call": 7, "checkpoint_n_steps": 20, "sample_n_steps": 30}
    return LoopSettings(n_steps=n_steps, **(periods | changes))


def scalars(stage_dir: pathlib.Path, name: str) -> dict[int, float]:
    events = EventAccumulator(str(stage_dir / "logs"), size_guidance={"tensors": 0})
    events.Reload()
    return {e.step: float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(name)}


def test_it_trains_writes_and_stops(tmp_path):
    trainer = LineTrainer()
    assert train(trainer, Batches(), settings(110), tmp_path) == 110
    assert trainer.validate()["held_out/error"] < 2.0
    names = [path.name for path in sorted(tmp_path.glob("checkpoint-*"))]
    assert names == ["checkpoint-00000100.safetensors", "checkpoint-00000110.safetensors"]
    curve = scalars(tmp_path, "line/loss")
    assert list(curve)[:5] == [7, 14, 20, 21, 28]
    assert curve[110] < 0.5 * curve[7]
    assert list(scalars(tmp_path, "held_out/error")) == [0, 30, 60, 90, 110]
    assert scalars(tmp_path, "learning_rate/line")[110] == pytest.approx(0.05)
    assert min(scalars(tmp_path, "steps_per_second").values()) > 0
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert {"tone", "original"} <= set(events.Tags()["tensors"])
    # Audio and picture of the same name; what does not change is written once.
    assert {event.step for event in events.Tensors("original")} == {0}
    assert {event.step for event in events.Tensors("tone")} >= {0, 110}


def test_metrics_are_means_over_the_call(tmp_path):
    train(LineTrainer(), Batches(), settings(7), tmp_path)
    expected = np.mean([Batches()(step)[0] for step in range(7)])
    assert scalars(tmp_path, "line/mean_input")[7] == pytest.approx(expected, abs=1e-6)


def test_resuming_gives_the_run_that_was_not_interrupted(tmp_path):
    whole, first, second = LineTrainer(), LineTrainer(), LineTrainer()
    train(whole, Batches(), settings(50), tmp_path / "whole")
    train(first, Batches(), settings(26), tmp_path / "parts")
    assert train(second, Batches(), settings(50), tmp_path / "parts") == 50
    require_same(second.named_variables(), whole.named_variables())
    ends = [scalars(tmp_path / part, "line/loss")[50] for part in ("whole", "parts")]
    assert ends[0] != 0


def test_a_finished_stage_is_left_alone(tmp_path):
    train(LineTrainer(), Batches(), settings(20), tmp_path)
    trainer = LineTrainer()
    assert train(trainer, Batches(), settings(20), tmp_path) == 20
    assert int(trainer.state["step"]) == 20


def test_time_limit_keeps_a_checkpoint(tmp_path):
    step = train(LineTrainer(), Batches(0.005), settings(10**6, max_minutes=0.02), tmp_path)
    assert 7 <= step < 10**6
    assert checkpoint.latest(tmp_path).name == f"checkpoint-{step:08d}.safetensors"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_with_a_checkpoint(tmp_path, number):
    trainer = LineTrainer()

    def stop_when_begun():
        while int(trainer.state["step"]) == 0:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    stopper = threading.Thread(target=stop_when_begun)
    stopper.start()
    with pytest.raises(SystemExit) as stopped:
        train(trainer, Batches(0.005), settings(10**6), tmp_path)
    stopper.join()
    assert stopped.value.code == 128 + number
    step = int(trainer.state["step"])
    assert checkpoint.latest(tmp_path).name == f"checkpoint-{step:08d}.safetensors"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class BadBatches(Batches):
    """As `Batches`, but for what `is_bad` says, which holds a NaN."""

    def __init__(self, is_bad):
        super().__init__()
        self.is_bad = is_bad

    def __call__(self, step):
        (batch,) = super().__call__(step)
        batch[3] = np.nan if self.is_bad(step) else batch[3]
        return (batch,)


class WithoutStep(Batches):
    """As `Batches` without the batch of one step."""

    def __init__(self, left_out):
        super().__init__()
        self.left_out = left_out

    def __call__(self, step):
        return super().__call__(step + (step >= self.left_out))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_step_that_is_not_finite_is_skipped_counted_and_reported(tmp_path, capsys, precision):
    trainer, without = LineTrainer(precision), LineTrainer(precision)
    train(trainer, BadBatches(lambda step: step == 45), settings(60), tmp_path / "bad")
    train(without, WithoutStep(45), settings(59), tmp_path / "without")
    assert {name: int(trainer.state[name]) for name in ("step", "n_skipped")} == {
        "step": 60,
        "n_skipped": 1,
    }
    assert int(trainer.state["n_skipped_in_a_row"]) == 0
    skipped = scalars(tmp_path / "bad", "skipped_steps")
    assert (skipped[42], skipped[49], skipped[60]) == (0, 1, 1)
    # The mean over the six good steps of the call.
    expected = np.mean([Batches()(step)[0] for step in range(42, 49) if step != 45])
    assert scalars(tmp_path / "bad", "line/mean_input")[49] == pytest.approx(expected, abs=1e-6)
    line = "1 of the last steps skipped, their losses or gradients were not finite (1 in all)"
    if precision == "float32":
        assert line in capsys.readouterr().out
        # Nothing of the step is left, neither in the weights nor in the moments.
        for name, variable in without.named_variables().items():
            if not name.startswith("state/"):
                ours = trainer.named_variables()[name]
                np.testing.assert_array_equal(ours, variable, err_msg=name)
    else:
        assert float(trainer.state["loss_scale"]) == 2.0**14


def test_steps_that_never_are_finite_again_end_the_run_and_spare_the_checkpoints(tmp_path):
    train(LineTrainer(), Batches(), settings(40), tmp_path)
    kept = {path: path.read_bytes() for path in sorted(tmp_path.glob("checkpoint-*"))}
    trainer = LineTrainer()
    with pytest.raises(ValueError) as stopped:
        batches = BadBatches(lambda step: step >= 45)
        train(trainer, batches, settings(10_000, max_skipped_steps=14), tmp_path)
    assert "the last 15 steps up to step 60 had losses or gradients" in str(stopped.value)
    for part in ("checkpoint-00000040", "lower --learning_rate", "--precision=float32"):
        assert part in str(stopped.value)
    assert {path: path.read_bytes() for path in sorted(tmp_path.glob("checkpoint-*"))} == kept
    # Another run with good data goes on from there.
    assert train(LineTrainer(), Batches(), settings(80), tmp_path) == 80


def test_float16_finds_its_loss_scale():
    trainer = LineTrainer("float16")
    trainer.state["loss_scale"].assign(2.0**127)
    for _ in range(4):
        assert float(trainer.step(tf.ones((8, 1)) * 10.0)["skipped"]) == 1.0
    assert float(trainer.state["loss_scale"]) == 2.0**123
    trainer.state["loss_scale"].assign(8.0)
    trainer.state["n_good_in_a_row"].assign(1999)
    assert float(trainer.step(tf.ones((8, 1)))["skipped"]) == 0.0
    assert float(trainer.state["loss_scale"]) == 16.0
    assert int(trainer.state["n_good_in_a_row"]) == 0


def test_the_best_checkpoints_are_kept_beside_the_newest(tmp_path, monkeypatch):
    errors = iter([9.0, 5.0, 3.0, 4.0, 2.0, 6.0])
    monkeypatch.setattr(LineTrainer, "validate", lambda self: {"held_out/error": next(errors)})
    train(LineTrainer(), Batches(), settings(60), tmp_path)
    # A resumed run knows what was best, and takes the steps again that a killed one has lost.
    (tmp_path / "best-00000090.safetensors").write_bytes(b"of a run that was killed")
    train(LineTrainer(), Batches(), settings(150), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("best-*")) == [
        "best-00000060.safetensors",
        "best-00000120.safetensors",
    ]
    assert checkpoint.best(tmp_path).name == "best-00000120.safetensors"
    assert checkpoint.latest(tmp_path).name == "checkpoint-00000150.safetensors"


def test_a_best_by_another_metric_is_no_hurdle(tmp_path, monkeypatch):
    monkeypatch.setattr(LineTrainer, "best_metric", "held_out/other")
    monkeypatch.setattr(LineTrainer, "validate", lambda self: {"held_out/other": 0.1})
    train(LineTrainer(), Batches(), settings(60), tmp_path)
    monkeypatch.setattr(LineTrainer, "best_metric", "held_out/error")
    errors = iter([9.0, 10.0])
    monkeypatch.setattr(LineTrainer, "validate", lambda self: {"held_out/error": next(errors)})
    train(LineTrainer(), Batches(), settings(120), tmp_path)
    assert checkpoint.best(tmp_path).name == "best-00000090.safetensors"


def test_what_goes_wrong_for_a_whole_period_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        LineTrainer, "diagnose", lambda self, metrics: f"seen {sorted(metrics)}" * (self.is_bad)
    )
    trainer = LineTrainer()
    trainer.is_bad = False
    train(trainer, Batches(), settings(30), tmp_path)
    assert "seen" not in capsys.readouterr().out
    trainer.is_bad = True
    train(trainer, Batches(), settings(60), tmp_path)
    assert "step 60: seen ['held_out/error', 'line/loss'" in capsys.readouterr().out


def test_strays_of_killed_runs_are_removed(tmp_path):
    left = tmp_path / ".checkpoint-00000001.safetensors.unfinished-x"
    left.mkdir()
    (left / "checkpoint-00000001.safetensors").write_bytes(b"half")
    train(LineTrainer(), Batches(), settings(20), tmp_path)
    assert not list(tmp_path.glob(".checkpoint-*"))


def test_xla_gives_the_same_losses(tmp_path):
    curves = []
    for xla in ("off", "on"):
        train(LineTrainer(), Batches(), settings(20, xla=xla), tmp_path / xla)
        curves.append(scalars(tmp_path / xla, "line/loss"))
    np.testing.assert_allclose(list(curves[0].values()), list(curves[1].values()), rtol=1e-4)


class NotForXla(LineTrainer):
    """Its step holds an operation that XLA cannot compile."""

    def gradients(self, x):
        gradients, metrics = super().gradients(x)
        n_distinct = tf.size(tf.unique(tf.reshape(x, [-1])).y)
        with tf.control_dependencies([tf.strings.as_string(n_distinct)]):
            metrics["line/n_distinct"] = tf.cast(n_distinct, tf.float32)
        return gradients, metrics


def test_auto_falls_back_where_xla_cannot_compile(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(devices, "_has_gpu", lambda: True)
    trainer, plain = NotForXla(), LineTrainer()
    assert train(trainer, Batches(), settings(20), tmp_path / "auto") == 20
    printed = capsys.readouterr().out
    assert printed.count("XLA cannot compile this step here, going on without it") == 1
    train(plain, Batches(), settings(20, xla="off"), tmp_path / "plain")
    # The failed attempt has not cost a batch.
    curves = [scalars(tmp_path / name, "line/loss") for name in ("auto", "plain")]
    assert curves[0] == curves[1]
    with pytest.raises(tf.errors.OpError):
        train(NotForXla(), Batches(), settings(20, xla="on"), tmp_path / "on")


def test_periods_are_checked():
    with pytest.raises(ValueError, match="checkpoint_n_steps=0 must be at least 1"):
        LoopSettings(n_steps=1, checkpoint_n_steps=0)
