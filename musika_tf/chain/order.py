"""What `musika-train` is asked for."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence

from musika_tf.conditioning.labels import Labels
from musika_tf.config import ConditioningConfig, Config, GanConfig
from musika_tf.data.annotation import Annotator
from musika_tf.data.audio_folder import Found
from musika_tf.runs import shipped
from musika_tf.runs.run import Run
from musika_tf.training_config import TrainingConfig

_MIN_HOURS = 0.01


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
      name: of the run and of the weights.
      hours: wall time for everything, over all starts.
      recordings: the audio.
      asked: what must be the same when the chain goes on: flags as they are written, by name.
      config_like: the system that is asked for, given that whose values hold where nothing is
        asked, and that whose autoencoder is taken over; None: neither.
      training: how to train.
      autoencoder: whose autoencoder is taken; None: one is trained.
      init_from: whose GAN to begin with; None: of those that ship on the same encoders and in the
        sizes that are asked for, whatever they follow, the one nearest to the music.
      annotators, labels, validation_share, stuck_after_seconds: of `preparation.prepare`.
      n_workers: processes that decode and annotate.
      runs_dir, weights_dir: where the folders NAME are made.
      flags_text: kept beside the checkpoints.
    """

    name: str
    hours: float
    recordings: Found
    asked: Mapping[str, str]
    config_like: Callable[[Config | None, Config | None], Config]
    training: TrainingConfig
    autoencoder: Run | None
    init_from: Run | None
    annotators: Sequence[Annotator]
    labels: Mapping[str, Labels]
    validation_share: float
    stuck_after_seconds: int
    n_workers: int
    runs_dir: str | os.PathLike = "runs"
    weights_dir: str | os.PathLike = shipped.WEIGHTS_DIR
    flags_text: str = ""

    def __post_init__(self):
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"name={self.name!r} must be letters, digits, and . _ - between them")
        if not _MIN_HOURS <= self.hours < float("inf"):
            raise ValueError(f"hours={self.hours:g} must be at least {_MIN_HOURS}, like 8")

    def config(self, begun: Config | None = None) -> Config:
        """The system that is asked for.

        Where nothing is asked it is like that of `init_from`, else a new one on the autoencoder.
        The GAN to begin with, if any, gives the sizes, but not what is followed.
        """
        adopted = self.autoencoder and self.autoencoder.config
        like = self.init_from.config if self.init_from else adopted and _new_on(adopted)
        if begun:
            gan = dataclasses.replace(begun.gan, mid_side=GanConfig.mid_side)
            like = dataclasses.replace(begun, gan=gan, conditioning=like.conditioning)
        return self.config_like(like, adopted)


def _new_on(config: Config) -> Config:
    """The sizes that go with an autoencoder, in the form that GANs have today; unconditional."""
    names = "normalisation", "dense_logit", "mid_side"
    gan = dataclasses.replace(config.gan, **{name: getattr(GanConfig, name) for name in names})
    return dataclasses.replace(config, gan=gan, conditioning=ConditioningConfig())
