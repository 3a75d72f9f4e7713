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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from musika_tf.batches import ArraySpec
from musika_tf.training import checkpoint
from musika_tf.training.loop import LoopSettings, train
from musika_tf.training.trainer import Samples, Trainer


class LineTrainer(Trainer):
    """Fits y = 3x + 1."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((1,))
        self.network = keras.Model(inputs, keras.layers.Dense(1, name="dense")(inputs))
        self.networks = {"line": self.network}
        self.optimizer = keras.optimizers.Adam(0.05)
        self.optimizer.build(self.network.trainable_variables)
        self.optimizers = {"line": self.optimizer}
        self.state = {"step": tf.Variable(0, dtype=tf.int64)}

    def step(self, x):
        self.state["step"].assign_add(1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.network(x) - (3.0 * x + 1.0)))
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"line/loss": loss, "line/mean_input": tf.reduce_mean(x)}

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
    names = [path.name for path in checkpoint.all_checkpoints(tmp_path)]
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
    for name, variable in whole.named_variables().items():
        np.testing.assert_array_equal(variable, second.named_variables()[name], err_msg=name)
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
    timer = threading.Timer(2.0, os.kill, (os.getpid(), number))
    timer.start()
    with pytest.raises(SystemExit) as stopped:
        train(trainer, Batches(0.005), settings(10**6), tmp_path)
    timer.join()
    assert stopped.value.code == 128 + number
    step = int(trainer.state["step"])
    assert checkpoint.latest(tmp_path).name == f"checkpoint-{step:08d}.safetensors"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_metric_that_is_not_finite_ends_the_run_and_spares_the_checkpoints(tmp_path):
    train(LineTrainer(), Batches(), settings(40), tmp_path)
    kept = {path: path.read_bytes() for path in checkpoint.all_checkpoints(tmp_path)}

    class BadBatches(Batches):
        def __call__(self, step):
            return (super().__call__(step)[0] * (np.nan if step == 45 else 1.0),)

    with pytest.raises(ValueError, match="line/loss became nan between steps 42 and 49"):
        train(LineTrainer(), BadBatches(), settings(80), tmp_path)
    assert {path: path.read_bytes() for path in checkpoint.all_checkpoints(tmp_path)} == kept


def test_strays_of_killed_runs_are_removed(tmp_path):
    (tmp_path / ".checkpoint-00000001.safetensors.99").write_bytes(b"half")
    train(LineTrainer(), Batches(), settings(20), tmp_path)
    assert not list(tmp_path.glob(".checkpoint-*"))


def test_xla_gives_the_same_losses(tmp_path):
    curves = []
    for jit_compile in (False, True):
        folder = tmp_path / str(jit_compile)
        train(LineTrainer(), Batches(), settings(20, jit_compile=jit_compile), folder)
        curves.append(scalars(folder, "line/loss"))
    np.testing.assert_allclose(list(curves[0].values()), list(curves[1].values()), rtol=1e-4)


def test_periods_are_checked():
    with pytest.raises(ValueError, match="checkpoint_n_steps=0 must be at least 1"):
        LoopSettings(n_steps=1, checkpoint_n_steps=0)
