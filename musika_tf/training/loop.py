"""The training loop of every stage: it decides when, the trainer decides what."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pathlib
import signal
import time
from collections.abc import Iterator

import tensorflow as tf
import tqdm

from musika_tf import progress
from musika_tf.runs import checkpoint
from musika_tf.sections import require
from musika_tf.training import devices, pipeline
from musika_tf.training.logs import SummaryWriter
from musika_tf.training.trainer import Trainer

# What TensorFlow raises where XLA cannot compile a step.
_XLA_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.InternalError,
    tf.errors.NotFoundError,
    tf.errors.UnimplementedError,
)
# What it raises in the workers that are left when one of them is gone.
_LOST_WORKER_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


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
    # Stop after so many steps in a row whose loss or gradients are not finite.
    max_skipped_steps: int = 50
    # Compile the step with XLA: on, off, or auto: on a GPU, if it can.
    xla: str = "auto"

    def __post_init__(self):
        require(self, "be at least 0", lambda value: value >= 0, "max_minutes")
        counts = ("n_steps_per_call", "checkpoint_n_steps", "sample_n_steps", "max_skipped_steps")
        require(self, "be at least 1", lambda value: value >= 1, *counts)
        if self.xla not in devices.XLA_CHOICES:
            raise ValueError(f"xla={self.xla!r} must be one of {', '.join(devices.XLA_CHOICES)}")


def train(
    trainer: Trainer,
    batches: pipeline.Batches,
    settings: LoopSettings,
    stage_dir: str | os.PathLike,
) -> int:
    """Trains one stage, going on from the newest checkpoint in `stage_dir` if there is one.

    Works under the current tf.distribute strategy, which must be the one that the trainer was
    built under. With several workers each of them calls this; one writes.

    Args:
      batches: step → batch; step n always takes batch n, also after a resume.
      stage_dir: folder of checkpoints and of the TensorBoard logs in `logs/`.

    Returns:
      The step reached.

    Raises:
      ValueError: too many steps in a row were not finite, or a worker is gone; the checkpoints
        before that are kept.
      SystemExit: SIGINT or SIGTERM came; a checkpoint was written, the status is 128 + the number.
    """
    return _Run(trainer, batches, settings, pathlib.Path(stage_dir)).run()


class LoopState:
    """What a checkpoint holds: the trainer's variables and the best metric so far.

    Takes up the newest checkpoint in `stage_dir` if there is one.

    Attributes:
      step: where training stands.
      best_metric: least value of the trainer's `best_metric` so far; a checkpoint has it under that
        metric's name, and one in which another chose the best begins anew.
    """

    def __init__(self, trainer: Trainer, stage_dir: pathlib.Path):
        self._trainer = trainer
        self.best_metric = tf.Variable(float("inf"), name="best_metric", trainable=False)
        newest = checkpoint.latest(stage_dir)
        if newest:
            checkpoint.restore(newest, self.variables())
        self.step = int(trainer.state["step"].numpy())
        if devices.is_chief():
            checkpoint.remove_best_after(stage_dir, self.step)

    def variables(self) -> dict[str, tf.Variable]:
        """By the name that each has in a checkpoint."""
        name = f"{checkpoint.BEST_METRIC}{self._trainer.best_metric}"
        return self._trainer.named_variables() | {name: self.best_metric}


class _Run:
    """One run of the loop."""

    def __init__(self, trainer, batches, settings, stage_dir):
        self.trainer, self.batches = trainer, batches
        self.settings, self.stage_dir = settings, stage_dir
        self.state = LoopState(trainer, stage_dir)
        self.step = self.first_step = self.state.step
        self._start(devices.wants_xla(settings.xla))
        self.vote = devices.make_vote()
        self.writer = SummaryWriter(stage_dir) if devices.is_chief() else None
        # Metrics of every call since the last validation.
        self.recent: list[dict[str, float]] = []
        self.stop_signal = 0

    def _start(self, with_xla: bool) -> None:
        self.with_xla = with_xla
        self.iterator = pipeline.iterator(self.batches, self.step)
        self.run_steps = devices.compile_steps(self.trainer.step, self.iterator, with_xla)

    def run(self) -> int:
        self.started = time.monotonic()
        with self._stopping_on_signals(), self._progress_bar() as bar:
            if self.step == 0:
                self._sample()
            while not self._is_finished():
                self._advance(self._n_steps_to_next_event(), bar)
                # Samples first: a checkpoint remembers the best metric so far.
                if self.step % self.settings.sample_n_steps == 0:
                    self._sample()
                if self.step % self.settings.checkpoint_n_steps == 0:
                    self._save()
            self._end()
        if self.writer:
            self.writer.close()
        self._tell_the_end()
        return self.step

    def _end(self) -> None:
        """Leaves a checkpoint and, unless somebody waits for this process to go, last samples."""
        if self.step > self.first_step and not self.stop_signal:
            if self.step % self.settings.sample_n_steps:
                self._sample()
        if self.step % self.settings.checkpoint_n_steps:
            self._save()

    def _tell_the_end(self) -> None:
        rest = "" if self.step >= self.settings.n_steps else "; the same command goes on from here"
        n_skipped = int(self.trainer.state["n_skipped"].numpy())
        skipped = f", {n_skipped} of them skipped" if n_skipped else ""
        print(f"{self.stage_dir}: step {self.step} of {self.settings.n_steps}{skipped}{rest}")
        if self.stop_signal:
            raise SystemExit(128 + self.stop_signal)

    @contextlib.contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """Takes a note of SIGINT and SIGTERM instead of dying; a second signal dies."""

        def handle(number, frame):
            del frame
            tqdm.tqdm.write("stopping after the current steps, with a checkpoint")
            signal.signal(number, previous[number])
            self.stop_signal = number

        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _is_finished(self) -> bool:
        minutes = (time.monotonic() - self.started) / 60.0
        wish = minutes >= self.settings.max_minutes or self.stop_signal > 0
        # One worker that stopped alone would leave the others waiting.
        return self.step >= self.settings.n_steps or bool(self.vote(tf.constant(float(wish))))

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
        metrics = {name: float(value) for name, value in self._run_steps(n_steps).items()}
        self.step += n_steps
        if int(self.trainer.state["step"].numpy()) != self.step:
            raise RuntimeError("the trainer did not count its steps")
        bar.update(n_steps)
        n_skipped = round(metrics.pop("skipped"))
        if n_skipped:
            self._tell_skipped(n_skipped)
        if n_skipped < n_steps:
            bar.set_postfix({name.split("/")[-1]: f"{v:.3f}" for name, v in metrics.items()})
            self.recent.append(dict(metrics))
        else:
            metrics = {}
        metrics["steps_per_second"] = n_steps / (time.monotonic() - started)
        metrics["skipped_steps"] = int(self.trainer.state["n_skipped"].numpy())
        for name, optimizer in self.trainer.optimizers.items():
            metrics[f"learning_rate/{name}"] = float(optimizer.learning_rate.value.numpy())
        if self.writer:
            self.writer.scalars(metrics, self.step)

    def _run_steps(self, n_steps: int) -> dict[str, tf.Tensor]:
        """The compiled call, with what can go wrong for reasons outside the model."""
        try:
            return self.run_steps(self.iterator, tf.constant(n_steps))
        except _XLA_ERRORS as error:
            if not self.with_xla or self.settings.xla != "auto" or self.step > self.first_step:
                raise _readable(error, self.stage_dir) from error
            reason = str(error).splitlines()[0]
            tqdm.tqdm.write(f"XLA cannot compile this step here, going on without it ({reason})")
            # The failed call has taken a batch: begin anew.
            self._start(with_xla=False)
            return self._run_steps(n_steps)
        except _LOST_WORKER_ERRORS as error:
            raise _readable(error, self.stage_dir) from error

    def _tell_skipped(self, n_skipped: int) -> None:
        """Reports skipped steps, and ends the run if they do not end."""
        state = self.trainer.state
        in_a_row, in_all = int(state["n_skipped_in_a_row"].numpy()), int(state["n_skipped"].numpy())
        # Half of all steps at first while float16 looks for its loss scale, then one in thousands.
        is_expected = "loss_scale" in state and in_a_row < self.settings.max_skipped_steps
        if not is_expected:
            tqdm.tqdm.write(
                f"step {self.step}: {n_skipped} of the last steps skipped, their losses or "
                f"gradients were not finite ({in_all} in all)"
            )
        if in_a_row < self.settings.max_skipped_steps:
            return
        raise ValueError(
            f"the last {in_a_row} steps up to step {self.step} had losses or gradients that are "
            "not finite; they changed nothing, and the last checkpoint is good "
            f"({checkpoint.latest(self.stage_dir) or 'there is none yet'}): the same command goes "
            "on from it, with a lower --learning_rate, with --precision=float32 if it was another, "
            "or with data that were looked through"
        )

    def _save(self) -> None:
        if devices.is_chief():
            checkpoint.save(self.stage_dir, self.state.variables(), self.step)

    def _sample(self) -> None:
        if not devices.is_chief():
            return
        metrics = self.trainer.validate()
        self._keep_best(metrics.get(self.trainer.best_metric, math.inf))
        self.writer.scalars(metrics, self.step)
        self.writer.samples(self.trainer.sample(), self.step)
        listed = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        tqdm.tqdm.write(f"step {self.step}: {listed}")
        # What goes wrong for a whole period is no passing weakness.
        diagnoses = [self.trainer.diagnose(recent | metrics) for recent in self.recent]
        if diagnoses and all(diagnoses):
            tqdm.tqdm.write(f"step {self.step}: {diagnoses[-1]}")
        self.recent = []

    def _keep_best(self, metric: float) -> None:
        if self.step > 0 and metric < self.state.best_metric.numpy():
            self.state.best_metric.assign(metric)
            checkpoint.save(self.stage_dir, self.state.variables(), self.step, checkpoint.BEST)

    def _progress_bar(self) -> tqdm.tqdm:
        return progress.bar(
            total=self.settings.n_steps,
            initial=self.step,
            unit="step",
            desc=self.stage_dir.name,
            mininterval=1.0,
            disable=not devices.is_chief(),
        )


def _readable(error: Exception, stage_dir: pathlib.Path) -> Exception:
    """An error that says what to do, where it is another worker's end; else the error itself."""
    if tf.distribute.get_strategy().cluster_resolver is None:
        return error
    newest = checkpoint.latest(stage_dir) or "the beginning"
    return ValueError(
        f"a worker is gone or cannot be reached ({type(error).__name__}): start all workers again "
        f"with the same commands, training goes on from {newest}"
    )
