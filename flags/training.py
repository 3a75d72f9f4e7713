"""Flags of a training, one a field of `TrainingConfig`."""

from __future__ import annotations

from flags import _sections
from musika_tf.training_config import PRECISIONS, TrainingConfig

config = _sections.define(
    TrainingConfig,
    choices={"precision": PRECISIONS},
    batch_size="Examples a step: pairs of adjacent excerpts for an autoencoder, latent sequences "
    "for the GAN.",
    level1_n_steps="Length of each of the two phases of the level-1 autoencoder, in steps.",
    level2_n_steps="Length of each of the two phases of the level-2 autoencoder, in steps.",
    gan_n_steps="Length of the training of the latent GAN, in steps.",
    learning_rate="Learning rate of Adam in every stage.",
    final_learning_rate_share="Share of the learning rate at the last step of a stage, to which "
    "half a cosine leads; 1 keeps it constant.",
    adam_beta_1="Decay of Adam's running mean of gradients, at least 0 and below 1.",
    reconstruction_weight="Weight of the L1 distance of the waveforms' log magnitudes in phase 2 "
    "of an autoencoder.",
    multi_scale_weight="Weight of the multi-scale spectral distance in phase 2 of an autoencoder.",
    adversarial_start_share="Share of the steps of phase 2 of an autoencoder that pass before its "
    "discriminator comes in, 0 to 1.",
    adversarial_period="Steps from one that trains and heeds the discriminator of an autoencoder "
    "to the next.",
    spliced_weight="Weight of spliced real music among what the discriminator of the latent GAN "
    "shall tell from real music; generated music counts 1.",
    r1_gamma="Gamma of the R1 gradient penalty of the latent GAN, which is half of gamma times the "
    "mean squared norm of the gradient of the discriminator's mean logit at real latents.",
    r1_period="Steps from one with the R1 penalty, times this number, to the next.",
    r1_gamma_least_share="Share of --r1_gamma to which gamma may fall while the discriminator is "
    "unsure, 0 to 1; 1 keeps it constant.",
    conditioning_weight="Weight of the distance between a generator's conditioning and what a "
    "network that was trained on real latents reads in the generated ones; 0 leaves following to "
    "the discriminator alone, as in the paper.",
    average_decay="Decay a step of the moving averages of the weights of the generator and of a "
    "decoder in phase 2, at least 0 and below 1.",
    seed="Seed of everything random in a training; the same seed gives the same training.",
    precision="Number format inside the networks while training; weights are kept in float32.",
)
