"""What the loop may expect of a trainer, and what trainers share: the guarded update."""

from __future__ import annotations

import abc
import dataclasses
import functools
import itertools
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from musika_tf.runs import checkpoint
from musika_tf.training import devices
from musika_tf.training_config import TrainingConfig

Gradients = dict[str, list[tf.Tensor]]

# float16 ends at 6e-8: losses are multiplied by this at first, then by what the gradients bear.
_FIRST_LOSS_SCALE = 2.0**15
# After so many good steps in a row twice the loss scale is tried.
_LOSS_SCALE_GROWTH_N_STEPS = 2000

# Adam's first steps are as long as all others and know little of the gradient: at the full rate
# they undo what a principal path or the phase before gives. The least of so many steps and this
# share of them.
_WARM_UP_N_STEPS = 200
_WARM_UP_SHARE = 0.05

# A hinge loss below this means that the discriminator has won: at 0 it sends no gradient any more.
_WON_HINGE = 0.1


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a trainer shows people: the same held-out excerpts or seeds every time."""

    # Name → float32 waveform [n_samples, n_channels] in [-1, 1].
    waveforms: dict[str, np.ndarray]
    sample_rate_hz: int
    # The same, of what training does not change: to compare with, and enough to be written once.
    references: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Trainer(abc.ABC):
    """Owns the networks and optimizers of one stage and knows how to take one step.

    A step whose loss or gradient is not finite changes nothing but three counters: nothing that it
    computed reaches a weight, a moment of an optimizer or an average.

    Subclasses build everything eagerly in their constructor, under the strategy that is current
    then, and fill these attributes:

    networks: name → network; all of them are kept in checkpoints, frozen ones too, so that one
      checkpoint is enough to go on, to start the next stage and to export.
    trained: name of an optimizer → the variables that it trains.
    best_metric: name of the metric of `validate` by which the best checkpoint is chosen: lower is
      better.

    Afterwards `_finish_building` makes the rest:

    optimizers: name → built Keras optimizer.
    state: name → variable; everything else that a step changes: `step`, an int64 that counts all
      steps, `n_skipped` and `n_skipped_in_a_row`, those that were not finite, and in float16
      `loss_scale` and `n_good_in_a_row`.
    """

    networks: dict[str, keras.Model]
    trained: dict[str, list[keras.Variable]]
    optimizers: dict[str, keras.optimizers.Optimizer]
    state: dict[str, tf.Variable]
    best_metric: str

    def __init__(self, training: TrainingConfig, n_steps: int | None = None):
        """Must come before networks are built: it seeds them. Over the `n_steps` of a stage the
        learning rate falls; None: it stays."""
        if training.batch_size % devices.n_replicas():
            raise ValueError(
                f"batch_size={training.batch_size} must be a multiple of the "
                f"{devices.n_replicas()} replicas that share a batch"
            )
        keras.utils.set_random_seed(training.seed)
        self.training = training
        self.n_steps = n_steps

    def _finish_building(self) -> None:
        """Makes optimizers and state for what the subclass has built."""
        training = self.training
        # Adam in all stages (paper §4.1, §4.2).
        self.optimizers = {
            name: keras.optimizers.Adam(training.learning_rate, beta_1=training.adam_beta_1)
            for name in self.trained
        }
        for name, optimizer in self.optimizers.items():
            optimizer.build(self.trained[name])
        first = {"step": 0, "n_skipped": 0, "n_skipped_in_a_row": 0}
        if training.precision == "float16":
            first |= {"n_good_in_a_row": 0, "loss_scale": _FIRST_LOSS_SCALE}
        self.state = {name: devices.counter(name, value) for name, value in first.items()}

    # What subclasses do

    @abc.abstractmethod
    def gradients(self, *batch: tf.Tensor) -> tuple[Gradients, dict[str, tf.Tensor]]:
        """Computes what one step needs of a batch, or a replica's part of it; changes no weight.

        Must trace with static shapes, without host calls, and compile under XLA.

        Returns:
          By optimizer the gradients of `self.target(loss)`, as `trained` orders them; and scalar
          metrics by slash-separated name.
        """

    def is_due(self, name: str) -> bool | tf.Tensor:
        """Inside a step: whether this step moves what an optimizer trains."""
        del name
        return True

    def after_update(self) -> None:  # noqa: B027 (most trainers have nothing to do here)
        """Called inside the step once the weights have changed."""

    @abc.abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics on held-out data, by slash-separated name."""

    @abc.abstractmethod
    def sample(self) -> Samples:
        """Something to listen to."""

    def diagnose(self, metrics: Mapping[str, float]) -> str | None:
        """What is going wrong by the last metrics, with what to do; None if nothing is."""
        del metrics
        return None

    # The step

    def target(self, loss: tf.Tensor) -> tf.Tensor:
        """What is to be differentiated in place of a loss: this replica's share of it, scaled."""
        share = loss / devices.n_replicas()
        return share * self.state["loss_scale"] if "loss_scale" in self.state else share

    def step(self, *batch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one training step in place; `batch` as for `gradients`.

        Returns:
          Its metrics, and `skipped`: 1 if the step was not finite and changed nothing, else 0.
        """
        gradients, metrics = self.gradients(*batch)
        numbers = [*metrics.values(), *itertools.chain(*gradients.values())]
        are_bad = [~tf.reduce_all(tf.math.is_finite(number)) for number in numbers]
        n_bad = tf.add_n([tf.cast(is_bad, tf.float32) for is_bad in are_bad])
        is_good = tf.equal(devices.sum_over_replicas(n_bad), 0.0)
        for name, group in gradients.items():
            is_moved = is_good & self.is_due(name)
            devices.run_if(is_moved, functools.partial(self._update, name), group)
        devices.run_if(is_good, self.after_update)
        self._count(is_good)
        return metrics | {"skipped": 1.0 - tf.cast(is_good, tf.float32)}

    def _update(self, name: str, gradients: list[tf.Tensor]) -> None:
        self.optimizers[name].learning_rate.assign(self._learning_rate())
        if "loss_scale" in self.state:
            gradients = [gradient / self.state["loss_scale"] for gradient in gradients]
        self.optimizers[name].apply(gradients, self.trained[name])

    def _learning_rate(self) -> float | tf.Tensor:
        """Rises for a few steps, falls by half a cosine to its final share, and stays there."""
        if self.n_steps is None:
            return self.training.learning_rate
        share = self.training.final_learning_rate_share
        n_rising = max(1.0, min(_WARM_UP_N_STEPS, _WARM_UP_SHARE * self.n_steps))
        risen = tf.minimum((self._n_done() + 1.0) / n_rising, 1.0)
        progress = tf.minimum(self._n_done() / self.n_steps, 1.0)
        fallen = 0.5 - 0.5 * tf.cos(np.pi * progress)
        return self.training.learning_rate * risen * (1.0 - (1.0 - share) * fallen)

    def _n_done(self) -> tf.Tensor:
        """Steps before this one, float32."""
        return tf.cast(self.state["step"].read_value(), tf.float32)

    def _count(self, is_good: tf.Tensor) -> None:
        state, n_bad = self.state, tf.cast(~is_good, tf.int64)
        state["step"].assign_add(1)
        state["n_skipped"].assign_add(n_bad)
        state["n_skipped_in_a_row"].assign(n_bad * (state["n_skipped_in_a_row"] + 1))
        if "loss_scale" in state:
            n_good = tf.cast(is_good, tf.int64) * (state["n_good_in_a_row"] + 1)
            is_grown = tf.equal(n_good, _LOSS_SCALE_GROWTH_N_STEPS)
            factor = tf.where(is_grown, 2.0, tf.where(is_good, 1.0, 0.5))
            state["loss_scale"].assign(state["loss_scale"] * factor)
            state["n_good_in_a_row"].assign(tf.where(is_grown, tf.zeros_like(n_good), n_good))

    def move_average(self, average: keras.Model, current: keras.Model) -> None:
        """Inside a step: moves the weights of an average towards those of a network like it.

        It has a short memory at first: the early weights are not worth remembering.
        """
        n_done = self._n_done()
        decay = tf.minimum(self.training.average_decay, (1.0 + n_done) / (10.0 + n_done))

        def move(average, current, decay):
            # In this form constants stay what they are to the last bit.
            average.assign_add((1.0 - decay) * (current - average))

        for ours, theirs in zip(average.weights, current.weights, strict=True):
            devices.update(ours.value, move, theirs.value, decay)

    # What is kept

    def named_variables(self) -> dict[str, tf.Variable]:
        """Everything that training changes or depends on, by unique name.

        Network variables are called `networks/<network>/<layer>/<variable>`, which is how later
        stages find them; optimizer variables `optimizers/<optimizer>/…`; the rest `state/…`.
        """
        named = checkpoint.variables_of(self.networks)
        for name, optimizer in self.optimizers.items():
            # Optimizers name their slots after the variables, which may repeat: count them.
            for index, variable in enumerate(optimizer.variables):
                named[f"optimizers/{name}/{index:04d}_{variable.name}"] = variable.value
        return named | {f"state/{name}": variable for name, variable in self.state.items()}


def won_diagnosis(hinge: float, advice: str) -> str | None:
    """What to say of a discriminator whose hinge loss is almost nothing; None if it is not."""
    if not hinge < _WON_HINGE:
        return None
    return (
        f"the discriminator tells real from generated almost without fail (hinge loss {hinge:.3f}; "
        f"2 is a draw), so that nothing is left to learn from it: lower --learning_rate, {advice}"
    )
