"""γ of the R1 penalty, lowered while the discriminator is unsure.

R1 keeps a discriminator from winning; too much of it keeps it from telling anything apart. The
original lowers its weight itself while that is so; here it rises again as well.
"""

from __future__ import annotations

import tensorflow as tf

from musika_tf.training import devices
from musika_tf.training_config import TrainingConfig

# Unsure: the hinge loss is above this on average; 2 is a draw, and what it begins with.
_UNSURE_HINGE = 1.8
# Share of a step in the moving average: it remembers a hundred steps.
_NEW_SHARE = 0.01
# What γ is multiplied by in an unsure step: half in 700 of them.
_FALL = 0.999


class R1Control:
    """The controller of γ.

    Args:
      training: r1_gamma, where γ begins and its greatest value, and r1_gamma_least_share.

    Attributes:
      state: name → variable, as `Trainer.state`: `r1_gamma`, and the moving average of the hinge
        loss, `hinge_average`.
    """

    def __init__(self, training: TrainingConfig):
        self._greatest = float(training.r1_gamma)
        self._least = self._greatest * training.r1_gamma_least_share
        first = {"r1_gamma": self._greatest, "hinge_average": 0.0}
        self.state = {name: devices.counter(name, value) for name, value in first.items()}

    @property
    def gamma(self) -> tf.Tensor:
        """γ of this step."""
        return self.state["r1_gamma"].read_value()

    def after_step(self, hinge: tf.Tensor, is_good: tf.Tensor) -> None:
        """In a replica, after each step.

        Args:
          hinge: the replica's hinge loss of the discriminator.
          is_good: whether the step was finite; else nothing changes.
        """
        average, gamma = (self.state[name].read_value() for name in ("hinge_average", "r1_gamma"))
        hinge = devices.sum_over_replicas(hinge) / devices.n_replicas()
        moved = average + _NEW_SHARE * (hinge - average)
        factor = tf.where(moved > _UNSURE_HINGE, _FALL, 1.0 / _FALL)
        adapted = tf.clip_by_value(gamma * factor, self._least, self._greatest)
        self.state["hinge_average"].assign(tf.where(is_good, moved, average))
        self.state["r1_gamma"].assign(tf.where(is_good, adapted, gamma))
