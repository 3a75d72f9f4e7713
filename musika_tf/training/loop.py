"""The training loop of every stage: it decides when, the trainer decides what."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator

import tensorflow as tf
import tqdm

from musika_tf.batches import LatentBatches, WaveformBatches
from musika_tf.training import checkpoint, pipeline
from musika_tf.training.summaries import SummaryWriter
from musika_tf.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """When to stop and when to write; no effect on what is learnt."""

    # The stage is finished after this many steps, counted over all its runs.
    n_steps: int
    # Stop this run after so many minutes; rerun the same command to go on.
    max_minutes: float = float("inf")
    # Steps inside one compiled call; metrics are averaged over them and read once.
    n_steps_per_call: int = 50
    # Steps between two checkpoints.
    checkpoint_n_steps: int = 1000
    # Steps between two validations, each with samples to listen to.
    sample_n_steps: int = 5000
    # Compile the step with XLA.
    jit_compile: bool = False

    def __post_init__(self):
        for name in ("n_steps_per_call", "checkpoint_n_steps", "sample_n_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


def train(
    trainer: Trainer,
    batches: WaveformBatches | LatentBatches,
    settings: LoopSettings,
    stage_dir: str | os.PathLike,
) -> int:
    """Trains one stage, going on from the newest checkpoint in `stage_dir` if there is one.

    Args:
      trainer: what to train.
      batches: step → batch; step n always takes batch n, also after a resume.
      settings: when to do what.
      stage_dir: folder of checkpoints and of the TensorBoard logs in `logs/`.

    Returns:
      The step reached.

    Raises:
      ValueError: a metric is not finite any more; the checkpoints before it are kept.
      SystemExit: SIGINT or SIGTERM came; a checkpoint was written, the status is 128 + the number.
    """
    return _Run(trainer, batches, settings, pathlib.Path(stage_dir)).run()


class _Run:
    """One run of the loop."""

    def __init__(self, trainer, batches, settings, stage_dir):
        self.trainer, self.settings, self.stage_dir = trainer, settings, stage_dir
        newest = checkpoint.latest(stage_dir)
        if newest:
            _restore(newest, trainer)
        self.step = self.first_step = int(trainer.state["step"])
        dataset = pipeline.dataset(batches, self.step)
        self.iterator = iter(dataset)
        self.run_steps = _compile(trainer.step, dataset.element_spec, settings.jit_compile)
        self.writer = SummaryWriter(stage_dir / "logs")
        self.stop_signal = 0

    def run(self) -> int:
        self.started = time.monotonic()
        with _on_signals(self._request_stop), self._progress_bar() as bar:
            if self.step == 0:
                self._sample()
            while not self._finished():
                n_steps = self._n_steps_to_next_event()
                self._advance(n_steps, bar)
                if self.step % self.settings.checkpoint_n_steps == 0:
                    self._save()
                if self.step % self.settings.sample_n_steps == 0:
                    self._sample()
            if self.step % self.settings.checkpoint_n_steps:
                self._save()
            if self.step % self.settings.sample_n_steps and self.step > self.first_step:
                self._sample()
        self.writer.close()
        self._tell_the_end()
        return self.step

    def _tell_the_end(self) -> None:
        rest = "" if self.step >= self.settings.n_steps else "; the same command goes on from here"
        print(f"{self.stage_dir}: step {self.step} of {self.settings.n_steps}{rest}")
        if self.stop_signal:
            raise SystemExit(128 + self.stop_signal)

    def _request_stop(self, number: int) -> None:
        self.stop_signal = number

    def _finished(self) -> bool:
        minutes = (time.monotonic() - self.started) / 60.0
        out_of_time = minutes >= self.settings.max_minutes
        return self.step >= self.settings.n_steps or out_of_time or self.stop_signal > 0

    def _n_steps_to_next_event(self) -> int:
        """Steps of the next call: up to the next checkpoint, sample or the end."""
        periods = (
            self.settings.n_steps_per_call,
            self.settings.checkpoint_n_steps,
            self.settings.sample_n_steps,
        )
        to_period_ends = [period - self.step % period for period in periods]
        return min(*to_period_ends, self.settings.n_steps - self.step)

    def _advance(self, n_steps: int, bar: tqdm.tqdm) -> None:
        started = time.monotonic()
        metrics = self.run_steps(self.iterator, tf.constant(n_steps))
        metrics = {name: float(value) for name, value in metrics.items()}
        self._require_finite(metrics, n_steps)
        self.step += n_steps
        if int(self.trainer.state["step"]) != self.step:
            raise RuntimeError("the trainer did not count its steps")
        bar.update(n_steps)
        bar.set_postfix({name.split("/")[-1]: f"{value:.3f}" for name, value in metrics.items()})
        metrics["steps_per_second"] = n_steps / (time.monotonic() - started)
        for name, optimizer in self.trainer.optimizers.items():
            metrics[f"learning_rate/{name}"] = float(optimizer.learning_rate)
        self.writer.scalars(metrics, self.step)

    def _require_finite(self, metrics: dict[str, float], n_steps: int) -> None:
        for name, value in metrics.items():
            if not math.isfinite(value):
                newest = checkpoint.latest(self.stage_dir) or "there is none"
                raise ValueError(
                    f"{name} became {value} between steps {self.step} and {self.step + n_steps}; "
                    "go on from the last good checkpoint with a lower --learning_rate (it is kept: "
                    f"{newest})"
                )

    def _save(self) -> None:
        checkpoint.save(self.stage_dir, self.trainer.named_variables(), self.step)

    def _sample(self) -> None:
        figures = self.trainer.validate()
        self.writer.scalars(figures, self.step)
        self.writer.samples(self.trainer.sample(), self.step)
        listed = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        tqdm.tqdm.write(f"step {self.step}: {listed}")

    def _progress_bar(self) -> tqdm.tqdm:
        return tqdm.tqdm(
            total=self.settings.n_steps,
            initial=self.step,
            unit="step",
            desc=self.stage_dir.name,
            dynamic_ncols=True,
            mininterval=1.0,
        )


def _restore(path: pathlib.Path, trainer: Trainer) -> None:
    """Everything as it was, but for the learning rates, which are those asked for now."""
    rates = {name: float(o.learning_rate) for name, o in trainer.optimizers.items()}
    checkpoint.restore(path, trainer.named_variables())
    for name, rate in rates.items():
        trainer.optimizers[name].learning_rate = rate


def _compile(step: Callable, element_spec, jit_compile: bool) -> Callable:
    """N steps as one graph: (iterator, n) → metrics averaged over the n steps."""
    step = tf.function(step, autograph=False, jit_compile=jit_compile)
    names = sorted(step.get_concrete_function(*element_spec).structured_outputs)

    @tf.function
    def run_steps(iterator, n_steps):
        sums = [tf.constant(0.0) for _ in names]
        for _ in tf.range(n_steps):
            metrics = step(*next(iterator))
            sums = [total + metrics[name] for total, name in zip(sums, names, strict=True)]
        means = [total / tf.cast(n_steps, tf.float32) for total in sums]
        return dict(zip(names, means, strict=True))

    return run_steps


@contextlib.contextmanager
def _on_signals(action: Callable[[int], None]) -> Iterator[None]:
    """Calls a function on SIGINT and SIGTERM instead of dying; a second signal dies."""

    def handle(number, frame):
        del frame
        tqdm.tqdm.write("stopping after the current steps, with a checkpoint")
        signal.signal(number, previous[number])
        action(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
