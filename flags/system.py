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
    return Config(
        audio=adopted.audio if adopted else audio.config(saved and saved.audio, flag_values),
        autoencoder=adopted.autoencoder
        if adopted
        else autoencoder.config(saved and saved.autoencoder, flag_values),
        gan=gan.config(saved and saved.gan, flag_values),
        conditioning=conditioning.config(saved and saved.conditioning, flag_values),
    )
