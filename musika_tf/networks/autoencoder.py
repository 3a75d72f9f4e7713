"""The two stacked audio autoencoders and the discriminator that trains them (paper §3.1, §4.1).

Networks are 1-D convolutions over time with frequency bins or latent channels as channels. The
encoders never pad and never overlap, so a latent depends on its own frames alone. The decoders see
one excerpt at a time and may pad inside it:

    frames     |<- excerpt: 64 ->|<------ 64 ------>|<------ 64 ------>|
    level 1    1 latent a frame, [128]
    level 2    1 latent in 16 (piano) or 8 (universal) level-1 latents
    decoding   |   on its own    |    on its own    |    on its own    |   then one inverse STFT
                                                                           over all frames

That no seam is heard where excerpts meet is what the discriminator teaches: it always sees two
adjacent excerpts. Steps that make an excerpt's phases consistent stay inside it too.

Where the config says so, both ends of a level have a linear path beside the network (`principal`).
"""

from __future__ import annotations

import copy

import keras
import tensorflow as tf
from keras import layers

from musika_tf import spectral
from musika_tf.config import N_CHANNELS, Config
from musika_tf.networks.layers import PositionModulation
from musika_tf.networks.phases import direction_to_spectrum, spectrum_to_direction
from musika_tf.networks.principal import (
    Gain,
    PrincipalDecoding,
    PrincipalEncoding,
    Standardization,
    before_tanh,
)
from musika_tf.networks.spectral_norm import SpectralConv2D

LEAKY_RELU_SLOPE = 0.2


def _activate(x):
    return layers.LeakyReLU(negative_slope=LEAKY_RELU_SLOPE)(x)


def _conv(x, width: int, kernel_size: int, name: str, stride: int = 1, **options):
    """Strided convolutions have kernel = stride (nothing overlaps); the others pad."""
    padding = "valid" if kernel_size == stride else "same"
    convolution = layers.Conv1D(
        width, kernel_size, strides=stride, padding=padding, name=name, **options
    )
    return convolution(x)


def _output(x, width: int, name: str, is_correction: bool = False):
    """The last layer of a network: float32 also where the others compute in half precision.

    One that corrects a principal path begins with zeros.
    """
    initializer = "zeros" if is_correction else "glorot_uniform"
    return _conv(x, width, 1, name, dtype="float32", kernel_initializer=initializer)


def _residual(x, name: str):
    return layers.Add()([x, _activate(_conv(x, x.shape[-1], 3, name))])


def _upsample(x, width: int, factor: int, name: str):
    """A transposed convolution with kernel = stride = factor, written as product and reshape."""
    return layers.Reshape((-1, width))(_conv(x, factor * width, 1, name))


def build_encoder1(config: Config) -> keras.Model:
    """Scaled log magnitudes [batch, n_frames, n_bins] → latents [batch, n_frames, depth]."""
    sizes = config.autoencoder
    inputs = keras.Input((None, config.audio.n_bins))
    x = inputs
    for index, width in enumerate(sizes.level1_encoder_widths):
        x = _activate(_conv(x, width, 1, f"conv{index}"))
    latents = _output(x, sizes.level1_latent_depth, "latents", sizes.principal_path)
    if sizes.principal_path:
        principal = PrincipalEncoding(1, sizes.level1_latent_depth, name="principal")
        latents = principal(inputs) + latents
    return keras.Model(inputs, keras.ops.tanh(latents), name="encoder1")


def build_decoder1(config: Config) -> keras.Model:
    """Level-1 latents of one excerpt → its scaled log magnitudes and phase directions.

    Input [batch, excerpt_n_frames, depth]; outputs [batch, excerpt_n_frames, n_bins] and
    [batch, excerpt_n_frames, 2·n_bins]: for every bin the two coordinates of a direction whose
    angle is the phase (all first coordinates, then all second ones).
    """
    sizes = config.autoencoder
    inputs = keras.Input((config.audio.excerpt_n_frames, sizes.level1_latent_depth))
    full_width, *half_widths = sizes.level1_decoder_widths
    x = inputs
    if sizes.principal_path:
        code = before_tanh(inputs)
        x = Standardization(name="standardization")(code)
    x = PositionModulation(name="stem_position")(_activate(_conv(x, full_width, 3, "stem")))
    skips = []
    for index, width in enumerate(half_widths):
        skips.append(x)
        x = _residual(_activate(_conv(x, width, 2, f"down{index}", stride=2)), f"down{index}_conv")
    x = PositionModulation(name="middle_position")(_residual(x, "middle_conv"))
    for index, skip in reversed(list(enumerate(skips))):
        x = layers.Add()([skip, _activate(_upsample(x, skip.shape[-1], 2, f"up{index}"))])
        x = PositionModulation(name=f"up{index}_position")(_residual(x, f"up{index}_conv"))
    head = _activate(_conv(x, sizes.level1_decoder_head_width, 1, "head"))
    if sizes.principal_path:
        # The head is for phases: magnitudes are nearly there.
        principal = PrincipalDecoding(1, config.audio.n_bins, name="principal")
        correction = _output(x, config.audio.n_bins, "magnitude", is_correction=True)
        log_magnitudes = principal(code) + correction
    else:
        log_magnitudes = _output(head, config.audio.n_bins, "magnitude")
    directions = _output(head, 2 * config.audio.n_bins, "phase")
    return keras.Model(inputs, [log_magnitudes, directions], name="decoder1")


def build_encoder2(config: Config) -> keras.Model:
    """Level-1 latents [batch, k·level2_ratio, depth 1] → level-2 latents [batch, k, depth 2]."""
    sizes = config.autoencoder
    inputs = keras.Input((None, sizes.level1_latent_depth))
    x = inputs
    if sizes.principal_path:
        code = before_tanh(inputs)
        x = Standardization(name="standardization")(code)
    stages = zip(sizes.level2_encoder_widths, sizes.level2_strides, strict=True)
    for index, (width, stride) in enumerate(stages):
        x = _activate(_conv(x, width, stride, f"down{index}", stride=stride))
        x = layers.Add()([x, _activate(_conv(x, width, 1, f"down{index}_conv"))])
    depth = sizes.level2_latent_depth
    latents = _output(x, depth, "latents", sizes.principal_path)
    if sizes.principal_path:
        principal = PrincipalEncoding(config.level2_ratio, depth, name="principal")
        latents = principal(code) + Gain(name="gain")(latents)
    return keras.Model(inputs, keras.ops.tanh(latents), name="encoder2")


def build_decoder2(config: Config) -> keras.Model:
    """Level-2 latents of one excerpt → its level-1 latents, in (-1, 1)."""
    sizes = config.autoencoder
    inputs = keras.Input((config.excerpt_n_latents, sizes.level2_latent_depth))
    first_width, *widths = sizes.level2_decoder_widths
    x = inputs
    if sizes.principal_path:
        code = before_tanh(inputs)
        x = Standardization(name="standardization")(code)
    x = _residual(_activate(_conv(x, first_width, 3, "stem")), "stem_conv")
    stages = zip(widths, reversed(sizes.level2_strides), strict=True)
    for index, (width, stride) in enumerate(stages):
        x = _activate(_upsample(x, width, stride, f"up{index}"))
        x = _residual(_residual(x, f"up{index}_conv0"), f"up{index}_conv1")
    depth = sizes.level1_latent_depth
    latents = _output(x, depth, "latents", sizes.principal_path)
    if sizes.principal_path:
        principal = PrincipalDecoding(config.level2_ratio, depth, name="principal")
        latents = principal(code) + Gain(name="gain")(latents)
    return keras.Model(inputs, keras.ops.tanh(latents), name="decoder2")


def build_discriminator(config: Config, n_frames: int) -> keras.Model:
    """Scaled log magnitudes [batch, n_frames, n_bins] → logits [batch, time, frequency].

    2-D convolutions, spectrally normalised (paper §4.1). The first one strides by 4 in frequency,
    where neighbouring bins share most of their window: half of all multiply-adds would be there.
    """
    n_bins = config.audio.discriminator_window_size // 2 + 1
    first_width, *widths = config.autoencoder.spectral_discriminator_widths
    inputs = keras.Input((n_frames, n_bins))
    x = layers.Reshape((n_frames, n_bins, 1))(inputs)
    x = _activate(SpectralConv2D(first_width, (3, 9), strides=(2, 4), name="conv0")(x))
    for index, width in enumerate(widths, start=1):
        x = _activate(SpectralConv2D(width, (3, 3), strides=(2, 2), name=f"conv{index}")(x))
    logits = SpectralConv2D(1, (3, 3), name="logits", dtype="float32")(x)
    return keras.Model(inputs, logits[..., 0], name="discriminator")


def by_excerpt(network: keras.Model, inputs: tf.Tensor, excerpt_length: int):
    """Applies a network to every excerpt on its own and joins the results along time.

    Args:
      network: takes [batch, excerpt_length, channels]; gives one tensor or several.
      inputs: [batch, n_excerpts·excerpt_length, channels].

    Returns:
      The network's outputs with the excerpts of a row one after another.
    """
    batch_size = tf.shape(inputs)[0] if inputs.shape[0] is None else inputs.shape[0]
    folded = tf.reshape(inputs, (-1, excerpt_length, inputs.shape[-1]))
    return tf.nest.map_structure(
        lambda output: tf.reshape(output, (batch_size, -1, output.shape[-1])), network(folded)
    )


def join_channels(latents: tf.Tensor) -> tf.Tensor:
    """Latents of each channel [batch, n_channels, n, depth] → [batch, n, n_channels·depth].

    Left's latents come first, then right's (paper §4.2).
    """
    return tf.concat(tf.unstack(latents, axis=1), axis=-1)


def split_channels(latents: tf.Tensor) -> tf.Tensor:
    """Inverse of `join_channels`."""
    return tf.stack(tf.split(latents, N_CHANNELS, axis=-1), axis=1)


class Autoencoder:
    """Both levels as one codec for mono audio; holds no variables besides its networks'.

    Attributes:
      networks: encoder1 and decoder1; with two levels also encoder2 and decoder2.
    """

    def __init__(self, config: Config, n_levels: int = 2):
        self.config = config
        self._carrier = spectral.carrier(config.audio.window_size, config.audio.hop_size)
        self.networks = {"encoder1": build_encoder1(config), "decoder1": build_decoder1(config)}
        if n_levels == 2:
            self.networks["encoder2"] = build_encoder2(config)
            self.networks["decoder2"] = build_decoder2(config)

    def with_network(self, name: str, network: keras.Model) -> Autoencoder:
        """The same autoencoder but for one network."""
        other = copy.copy(self)
        other.networks = self.networks | {name: network}
        return other

    def stft(self, waveforms: tf.Tensor) -> tf.Tensor:
        """float32 [batch, n_samples] → complex64 [batch, n_frames, n_bins]."""
        audio = self.config.audio
        return spectral.stft(waveforms, audio.window_size, audio.hop_size)

    def log_spectrogram(self, waveforms: tf.Tensor) -> tf.Tensor:
        """float32 [batch, n_samples] → scaled log magnitudes [batch, n_frames, n_bins]."""
        return spectral.log_magnitude(self.stft(waveforms))

    def encode1(self, log_magnitudes: tf.Tensor) -> tf.Tensor:
        """Scaled log magnitudes → level-1 latents, one a frame."""
        return self.networks["encoder1"](log_magnitudes)

    def encode2(self, level1_latents: tf.Tensor) -> tf.Tensor:
        """Level-1 latents [batch, k·level2_ratio, …] → level-2 latents [batch, k, …]."""
        return self.networks["encoder2"](level1_latents)

    def encode(self, waveforms: tf.Tensor) -> tf.Tensor:
        """float32 [batch, n_samples] → level-2 latents [batch, n, level2_latent_depth].

        n_samples must span a whole number of latents: n·latent_hop_size + overlap_size.
        """
        return self.encode2(self.encode1(self.log_spectrogram(waveforms)))

    def decode2(self, latents: tf.Tensor) -> tf.Tensor:
        """Level-2 latents of whole excerpts → level-1 latents."""
        return by_excerpt(self.networks["decoder2"], latents, self.config.excerpt_n_latents)

    def decode1(self, level1_latents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Level-1 latents of whole excerpts → scaled log magnitudes and phase directions."""
        excerpt_n_frames = self.config.audio.excerpt_n_frames
        return tuple(by_excerpt(self.networks["decoder1"], level1_latents, excerpt_n_frames))

    def decode_spectrum(self, latents: tf.Tensor) -> tf.Tensor:
        """Level-2 latents of whole excerpts → complex spectrum [batch, n_frames, n_bins]."""
        return self.spectrum(*self.decode1(self.decode2(latents)))

    def spectrum(self, log_magnitudes: tf.Tensor, directions: tf.Tensor) -> tf.Tensor:
        """What decoder 1 gives of whole excerpts → complex spectrum [batch, n_frames, n_bins]."""
        parts = self.spectrum_as_decoded(log_magnitudes, directions)
        return self.with_consistent_phases(tf.complex(*parts))

    def spectrum_as_decoded(
        self, log_magnitudes: tf.Tensor, directions: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Real and imaginary parts of the spectrum, each [batch, n_frames, n_bins].

        As the networks give it, but for bins that no recording has so loud: its phases are not
        consistent yet.
        """
        loudest = spectral.loudest_log_magnitude(self.config.audio.window_size)
        log_magnitudes = tf.minimum(log_magnitudes, loudest)
        return direction_to_spectrum(log_magnitudes, directions, self._carrier)

    def with_consistent_phases(self, spectrum: tf.Tensor) -> tf.Tensor:
        """Makes the phases of each excerpt consistent, by as many steps as the config says.

        Spectrum of whole excerpts, complex64 [batch, n_frames, n_bins] → the same.
        """
        audio = self.config.audio
        excerpts = tf.reshape(spectrum, (-1, audio.excerpt_n_frames, audio.n_bins))
        n_steps = self.config.autoencoder.consistency_n_steps
        excerpts = spectral.consistent(excerpts, audio.window_size, audio.hop_size, n_steps)
        return tf.reshape(excerpts, tf.shape(spectrum))

    def directions(self, spectrum: tf.Tensor) -> tf.Tensor:
        """The phase directions with which `spectrum` would give this spectrum's phases."""
        return spectrum_to_direction(spectrum, self._carrier)

    def inverse_stft(self, spectrum: tf.Tensor) -> tf.Tensor:
        """complex64 [batch, n_frames, n_bins] → [batch, n_frames·hop_size + overlap_size]."""
        audio = self.config.audio
        return spectral.inverse_stft(spectrum, audio.window_size, audio.hop_size)

    def decode(self, latents: tf.Tensor, overlap: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Stereo latents of whole excerpts → their part of the waveform, exactly streamable.

            inverse STFT   |<------- n_samples: this chunk's waveform ------->|<- overlap ->|
            added to it    |<- overlap ->| of the chunk before

        Args:
          latents: float32 [batch, k, n_channels·level2_latent_depth].
          overlap: float32 [batch, overlap_size, n_channels]: what the chunk before left over;
            zeros before the first chunk.

        Returns:
          The waveform [batch, k·latent_hop_size, n_channels], not clipped, and the overlap for the
          next chunk.
        """
        latents = split_channels(latents)
        mono = tf.reshape(latents, (-1, tf.shape(latents)[2], latents.shape[-1]))
        waveforms = self.inverse_stft(self.decode_spectrum(mono))
        waveforms = tf.reshape(waveforms, (-1, N_CHANNELS, tf.shape(waveforms)[-1]))
        waveforms = tf.transpose(waveforms, (0, 2, 1))
        overlap_size = self.config.audio.overlap_size
        head = waveforms[:, :overlap_size] + overlap
        n_samples = tf.shape(waveforms)[1] - overlap_size
        waveforms = tf.concat([head, waveforms[:, overlap_size:]], axis=1)
        return waveforms[:, :n_samples], waveforms[:, n_samples:]
