"""What the training loop may expect of a trainer, and no more."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from musika_tf.config import TrainingConfig


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a trainer shows people: the same held-out excerpts or seeds every time."""

    # Name → float32 waveform [n_samples, n_channels] in [-1, 1].
    waveforms: dict[str, np.ndarray]
    sample_rate_hz: int
    # The same, of what training does not change: to compare with, and enough to be written once.
    references: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def adam(
    training: TrainingConfig, variables: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Adam as every stage uses it (paper §4.1, §4.2), built for the variables it will train."""
    optimizer = keras.optimizers.Adam(training.learning_rate, beta_1=training.adam_beta_1)
    optimizer.build(variables)
    return optimizer


class Trainer(abc.ABC):
    """Owns the networks and optimizers of one stage and knows how to take one step.

    Subclasses build everything eagerly in their constructor and fill these attributes:

    networks: name → network; all of them are kept in checkpoints, frozen ones too, so that one
      checkpoint is enough to go on, to start the next stage and to export.
    optimizers: name → built Keras optimizer.
    state: name → variable; everything else that a step changes. Holds at least `step`, an int64
      scalar that every step increases by one.
    """

    networks: dict[str, keras.Model]
    optimizers: dict[str, keras.optimizers.Optimizer]
    state: dict[str, tf.Variable]

    @abc.abstractmethod
    def step(self, *batch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one training step in place.

        Must trace with static shapes, without host calls, and compile under XLA.

        Args:
          *batch: the tensors of one batch.

        Returns:
          Scalar metrics by slash-separated name.
        """

    @abc.abstractmethod
    def validate(self) -> dict[str, float]:
        """Figures on held-out data, by slash-separated name."""

    @abc.abstractmethod
    def sample(self) -> Samples:
        """Something to listen to."""

    def named_variables(self) -> dict[str, tf.Variable]:
        """Everything that training changes or depends on, by unique name.

        Network variables are called `networks/<network>/<layer>/<variable>`, which is how later
        stages find them; optimizer variables `optimizers/<optimizer>/…`; the rest `state/…`.
        """
        named = {}
        for name, network in self.networks.items():
            named |= {f"networks/{name}/{v.path}": v.value for v in network.variables}
        for name, optimizer in self.optimizers.items():
            # Optimizers name their slots after the variables, which may repeat: count them.
            for index, variable in enumerate(optimizer.variables):
                named[f"optimizers/{name}/{index:04d}_{variable.name}"] = variable.value
        named |= {f"state/{name}": variable for name, variable in self.state.items()}
        return named

    @property
    def variables(self) -> Sequence[tf.Variable]:
        """The variables of `named_variables`, in its order."""
        return list(self.named_variables().values())
