"""Flags of the two stacked autoencoders, one a field of `AutoencoderConfig`."""

from __future__ import annotations

from flags import _sections
from musika_tf.config import AutoencoderConfig

config = _sections.define(
    AutoencoderConfig,
    level1_latent_depth="Channels of a level-1 latent, of which there is one a frame.",
    level1_encoder_widths="Channels of each hidden layer of the level-1 encoder, first layer "
    "first.",
    level1_decoder_widths="Channels of the level-1 decoder at each resolution: frame rate first, "
    "each next one at half the rate.",
    level1_decoder_head_width="Channels of the last hidden layer of the level-1 decoder, shared "
    "by magnitude and phase.",
    level2_latent_depth="Channels of a level-2 latent, for each of the two audio channels; the "
    "latent GAN models these latents.",
    level2_strides="Time compression of each stage of the level-2 encoder; the product is the "
    "number of frames to one level-2 latent.",
    level2_encoder_widths="Channels of each stage of the level-2 encoder, one for each of "
    "--level2_strides.",
    level2_decoder_widths="Channels of the level-2 decoder before its first upsampling and after "
    "each one: one more than there are --level2_strides.",
    spectral_discriminator_widths="Channels of each convolution of the discriminator on "
    "spectrograms, first layer first.",
    principal_path="Give both levels a linear path of principal components beside their networks.",
    consistency_n_steps="Steps inverse STFT, STFT by which the phases of an excerpt are made "
    "consistent, 0 to 8.",
)
