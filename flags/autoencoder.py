"""Flags of the two stacked autoencoders, one a field of `AutoencoderConfig`."""

from __future__ import annotations

from absl import flags

from flags import _sections
from musika_tf.config import AutoencoderConfig

_DEFAULT = AutoencoderConfig()

flags.DEFINE_integer(
    "level1_latent_depth",
    _DEFAULT.level1_latent_depth,
    "Channels of a level-1 latent, of which there is one a frame.",
)
_sections.define_int_tuple(
    "level1_encoder_widths",
    _DEFAULT.level1_encoder_widths,
    "Channels of each hidden layer of the level-1 encoder, first layer first.",
)
_sections.define_int_tuple(
    "level1_decoder_widths",
    _DEFAULT.level1_decoder_widths,
    "Channels of the level-1 decoder at each resolution: frame rate first, each next one at half "
    "the rate.",
)
flags.DEFINE_integer(
    "level1_decoder_head_width",
    _DEFAULT.level1_decoder_head_width,
    "Channels of the last hidden layer of the level-1 decoder, shared by magnitude and phase.",
)
flags.DEFINE_integer(
    "level2_latent_depth",
    _DEFAULT.level2_latent_depth,
    "Channels of a level-2 latent, for each of the two audio channels; the latent GAN models these "
    "latents.",
)
_sections.define_int_tuple(
    "level2_strides",
    _DEFAULT.level2_strides,
    "Time compression of each stage of the level-2 encoder; the product is the number of frames "
    "to one level-2 latent.",
)
_sections.define_int_tuple(
    "level2_encoder_widths",
    _DEFAULT.level2_encoder_widths,
    "Channels of each stage of the level-2 encoder, one for each of --level2_strides.",
)
_sections.define_int_tuple(
    "level2_decoder_widths",
    _DEFAULT.level2_decoder_widths,
    "Channels of the level-2 decoder before its first upsampling and after each one: one more than "
    "there are --level2_strides.",
)
_sections.define_int_tuple(
    "spectral_discriminator_widths",
    _DEFAULT.spectral_discriminator_widths,
    "Channels of each convolution of the discriminator on spectrograms, first layer first.",
)
flags.DEFINE_bool(
    "principal_path",
    _DEFAULT.principal_path,
    "Give both levels a linear path of principal components beside their networks.",
)
flags.DEFINE_integer(
    "consistency_n_steps",
    _DEFAULT.consistency_n_steps,
    "Steps inverse STFT, STFT by which the phases of an excerpt are made consistent, 0 to 8.",
)


def config(
    saved: AutoencoderConfig | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> AutoencoderConfig:
    """The autoencoder section that the flags ask for; unset flags follow `saved` if given."""
    return _sections.build(AutoencoderConfig, saved, flag_values)
