"""Flags of a training, one a field of `TrainingConfig`."""

from __future__ import annotations

from absl import flags

from flags import _sections
from musika_tf.config import PRECISIONS, TrainingConfig

_DEFAULT = TrainingConfig()

flags.DEFINE_integer(
    "batch_size",
    _DEFAULT.batch_size,
    "Examples a step: pairs of adjacent excerpts for an autoencoder, latent sequences for the GAN.",
)
flags.DEFINE_integer(
    "level1_n_steps",
    _DEFAULT.level1_n_steps,
    "Length of each of the two phases of the level-1 autoencoder, in steps.",
)
flags.DEFINE_integer(
    "level2_n_steps",
    _DEFAULT.level2_n_steps,
    "Length of each of the two phases of the level-2 autoencoder, in steps.",
)
flags.DEFINE_integer(
    "gan_n_steps",
    _DEFAULT.gan_n_steps,
    "Length of the training of the latent GAN, in steps.",
)
flags.DEFINE_float(
    "learning_rate",
    _DEFAULT.learning_rate,
    "Learning rate of Adam in every stage.",
)
flags.DEFINE_float(
    "final_learning_rate_share",
    _DEFAULT.final_learning_rate_share,
    "Share of the learning rate at the last step of a stage, to which half a cosine leads; 1 keeps "
    "it constant.",
)
flags.DEFINE_float(
    "adam_beta_1",
    _DEFAULT.adam_beta_1,
    "Decay of Adam's running mean of gradients, at least 0 and below 1.",
)
flags.DEFINE_float(
    "reconstruction_weight",
    _DEFAULT.reconstruction_weight,
    "Weight of the L1 distance of the waveforms' log magnitudes in phase 2 of an autoencoder.",
)
flags.DEFINE_float(
    "multi_scale_weight",
    _DEFAULT.multi_scale_weight,
    "Weight of the multi-scale spectral distance in phase 2 of an autoencoder.",
)
flags.DEFINE_float(
    "adversarial_start_share",
    _DEFAULT.adversarial_start_share,
    "Share of the steps of phase 2 of an autoencoder that pass before its discriminator comes in, "
    "0 to 1.",
)
flags.DEFINE_integer(
    "adversarial_period",
    _DEFAULT.adversarial_period,
    "Steps from one that trains and heeds the discriminator of an autoencoder to the next.",
)
flags.DEFINE_float(
    "r1_weight",
    _DEFAULT.r1_weight,
    "Weight of the R1 gradient penalty of the latent GAN.",
)
flags.DEFINE_float(
    "told_weight",
    _DEFAULT.told_weight,
    "Weight of the distance between what a conditional generator is told and what a network that "
    "was trained on real latents reads in the generated ones; 0 leaves following to the "
    "discriminator alone, as in the paper.",
)
flags.DEFINE_float(
    "average_decay",
    _DEFAULT.average_decay,
    "Decay a step of the moving averages of the weights of the generator and of a decoder in phase "
    "2, at least 0 and below 1.",
)
flags.DEFINE_integer(
    "seed",
    _DEFAULT.seed,
    "Seed of everything random in a training; the same seed gives the same training.",
)
flags.DEFINE_enum(
    "precision",
    _DEFAULT.precision,
    PRECISIONS,
    "Number format inside the networks while training; weights are kept in float32.",
)


def config(
    saved: TrainingConfig | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> TrainingConfig:
    """The training section that the flags ask for; unset flags follow `saved` where given."""
    return _sections.build(TrainingConfig, saved, flag_values)
