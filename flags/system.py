"""The flags of a whole system: audio format, autoencoders, latent GAN, its conditioning."""

from __future__ import annotations

from absl import flags

from flags import audio, autoencoder, conditioning, gan
from musika_tf.config import Config


def config(
    saved: Config | None = None,
    flag_values: flags.FlagValues = flags.FLAGS,
    adopted: Config | None = None,
) -> Config:
    """The system that the flags ask for; unset flags follow `saved` where it is given.

    Audio format and autoencoder are those of `adopted` where that is given: a preset gives both,
    but of another run's autoencoder nothing is left to choose.

    Raises:
      ValueError: The values are out of range or do not fit each other.
    """
    kept = {name: getattr(adopted, name) for name in ("audio", "autoencoder") if adopted}
    modules = {"audio": audio, "autoencoder": autoencoder, "gan": gan, "conditioning": conditioning}
    asked = {
        name: module.config(getattr(saved, name, None), flag_values)
        for name, module in modules.items()
        if name not in kept
    }
    return Config(**kept, **asked)
