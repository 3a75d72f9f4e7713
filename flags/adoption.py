"""The flag of another run's autoencoder, and the system of a GAN that is built on it."""

from __future__ import annotations

from absl import flags

from flags import paths, system
from musika_tf.config import Config
from musika_tf.runs.run import ADOPTED_FILE, Run

AUTOENCODER = paths.define_model(
    "autoencoder",
    "Another run, or released weights, whose autoencoder made the latents: it is copied into this "
    "run. Audio format and autoencoder are then as there, whatever the preset says.",
)


def source() -> Run | None:
    """The run whose autoencoder is to be adopted, if one is named."""
    return Run(AUTOENCODER.value) if AUTOENCODER.value else None


def config(
    run: Run, other: Run | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> Config:
    """The system of a GAN in `run`; where its autoencoder is adopted, now or before, flags choose
    the GAN and its conditioning alone. `other` is the run whose autoencoder it adopts now, if any.

    Raises:
      ValueError: as `system.config`, or `other` is no run.
    """
    adopted = other or (run if (run.folder / ADOPTED_FILE).exists() else None)
    return system.config(run.saved_config, flag_values, adopted and adopted.config)
