"""What a system is: audio format, network sizes, latent coordinates. No TensorFlow here.

A `Config` is frozen, checks itself when it is made, and travels as JSON with shards, latents,
checkpoints and exported models.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing

from musika_tf import sections
from musika_tf.sections import require, require_positive
from musika_tf.signals import BEATS, TEMPO_SIGNAL, Signal

# Of a run or of released weights, in their folder.
CONFIG_FILE = "config.json"
# The autoencoders are mono; the generator makes the latents of both channels (paper §4.2).
N_CHANNELS = 2

# A 16-bit sample k stands for k / 32768, from -1 to just below 1.
INT16_SCALE = 32_768

# What a generator's features are normalised over: all channels of a step, or all steps of a patch.
NORMALISATIONS = ("step", "patch")

# Steps of the coarsest rate that the generator reads on each side of its window: what two
# convolutions of 3 at each rate and one more at the end reach, see `networks/gan.py`.
_CONTEXT_N_COARSEST = 4


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """Audio format and short-time Fourier transform (paper §4.1, §5)."""

    # Samples per second.
    sample_rate_hz: int = 22_050
    # Hann window of the STFT that the encoder reads and the decoder writes, in samples.
    window_size: int = 1024
    # Samples between two frames.
    hop_size: int = 256
    # Frames that are decoded together, independently of their neighbours: 0.74 s of audio.
    excerpt_n_frames: int = 64

    def __post_init__(self):
        require_positive(self, "sample_rate_hz", "window_size", "hop_size", "excerpt_n_frames")
        if self.window_size % self.hop_size or self.window_size < 4 * self.hop_size:
            raise ValueError(
                f"window_size={self.window_size} must be a multiple of "
                f"hop_size={self.hop_size} and at least 4 times as long, or the "
                "inverse STFT cannot rebuild the waveform"
            )
        # Phases are relative to a carrier that repeats after this many frames; every excerpt
        # begins where it begins.
        carrier_n_frames = self.window_size // self.hop_size
        if self.excerpt_n_frames % carrier_n_frames:
            raise ValueError(
                f"excerpt_n_frames={self.excerpt_n_frames} must be a multiple of "
                f"window_size // hop_size = {carrier_n_frames}"
            )

    @property
    def n_bins(self) -> int:
        """Frequency bins of a frame."""
        return self.window_size // 2 + 1

    @property
    def overlap_size(self) -> int:
        """Samples by which a frame reaches past its own hop: what streaming carries over."""
        return self.window_size - self.hop_size

    @property
    def excerpt_n_samples(self) -> int:
        """Samples that one excerpt adds to the waveform."""
        return self.excerpt_n_frames * self.hop_size

    @property
    def pair_n_samples(self) -> int:
        """Samples under the frames of two adjacent excerpts: what an autoencoder trains on."""
        return 2 * self.excerpt_n_samples + self.overlap_size

    @property
    def multi_scale_hop_sizes(self) -> tuple[int, ...]:
        """Hop sizes of the multi-scale spectral distance; windows are four hops (paper §4.1)."""
        return tuple(self.hop_size * quarter // 4 for quarter in (1, 2, 4, 8))

    @property
    def discriminator_window_size(self) -> int:
        """Window of the spectrogram that the discriminator sees: six hops (paper §4.1)."""
        return 6 * self.hop_size


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of the two stacked autoencoders and of their discriminator (paper §3.1, §4.1)."""

    # Channels of a level-1 latent; one latent a frame.
    level1_latent_depth: int = 128
    # Hidden widths of the level-1 encoder, a stack of 1x1 convolutions.
    level1_encoder_widths: tuple[int, ...] = (768, 768, 768)
    # Widths of the level-1 decoder, a U-Net along time: frame rate first, then halved each time.
    level1_decoder_widths: tuple[int, ...] = (512, 512, 512)
    # Width of the level-1 decoder's last hidden layer, shared by magnitude and phase.
    level1_decoder_head_width: int = 768
    # Channels of a level-2 latent: what the latent GAN models.
    level2_latent_depth: int = 32
    # Time compression of each level-2 encoder stage; their product is the compression over level 1.
    level2_strides: tuple[int, ...] = (4, 4)
    # Widths of the level-2 encoder, one a stage.
    level2_encoder_widths: tuple[int, ...] = (512, 768)
    # Widths of the level-2 decoder: before the first upsampling, then one after each.
    level2_decoder_widths: tuple[int, ...] = (768, 512, 384)
    # Channels of the 2-D convolutions of the discriminator on spectrograms.
    spectral_discriminator_widths: tuple[int, ...] = (32, 64, 128, 192, 256)
    # Whether both levels have a linear path of principal components beside their networks.
    principal_path: bool = True
    # Steps inverse STFT → STFT by which the phases of an excerpt are made consistent.
    consistency_n_steps: int = 2

    def __post_init__(self):
        names = (field.name for field in dataclasses.fields(self))
        may_be_zero = ("principal_path", "consistency_n_steps")
        require_positive(self, *(name for name in names if name not in may_be_zero))
        require(self, "be 0 to 8", lambda value: 0 <= value <= 8, "consistency_n_steps")
        for name, n_more, rule in (
            ("level2_encoder_widths", 0, "for each of"),
            ("level2_decoder_widths", 1, "more than"),
        ):
            if len(getattr(self, name)) != len(self.level2_strides) + n_more:
                raise ValueError(
                    f"{name}={getattr(self, name)} must hold one width {rule} "
                    f"level2_strides={self.level2_strides}"
                )


@dataclasses.dataclass(frozen=True)
class GanConfig:
    """Latent coordinate system and latent GAN (paper §3.2, §4.2)."""

    # Dimension of an anchor and of every coordinate between two anchors.
    anchor_depth: int = 64
    # Dimension of the style vector shared by a whole piece.
    style_depth: int = 64
    # Half the latents between two anchors, and of a training example: a patch.
    seq_len: int = 64
    # "step": over the channels of each step, so that all patches are windows on one computation;
    # "patch": over the steps of a patch, each made on its own, as in the paper.
    normalisation: str = "step"
    # Generator channels at each resolution: coarsest first, doubled in rate up to seq_len.
    generator_widths: tuple[int, ...] = (448, 448, 448, 384, 384)
    # Discriminator channels: full rate first, each next one at half the rate.
    latent_discriminator_widths: tuple[int, ...] = (256, 384, 512, 512, 512)
    # Whether the discriminator has a logit that sees all steps beside those that see a part.
    dense_logit: bool = True
    # Whether discriminator and estimator see mid and side in place of left and right.
    mid_side: bool = True

    def __post_init__(self):
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(
                f"normalisation={self.normalisation!r} must be {' or '.join(NORMALISATIONS)}"
            )
        choices = ("normalisation", "dense_logit", "mid_side")
        require_positive(self, *sorted({f.name for f in dataclasses.fields(self)} - set(choices)))
        for name, length in (
            ("generator_widths", self.seq_len),
            ("latent_discriminator_widths", 2 * self.seq_len),
        ):
            halvings = len(getattr(self, name)) - 1
            if length % 2**halvings or length // 2**halvings < 2:
                raise ValueError(
                    f"{name} holds {halvings + 1} widths, so {length} steps would be halved "
                    f"{halvings} times: not to a whole number of at least 2; use fewer widths "
                    "or a longer seq_len"
                )

    @property
    def coarsest_n_steps(self) -> int:
        """The generator's windows start at multiples of this, and are multiples of it long."""
        if self.normalisation == "patch":
            return self.seq_len
        return 2 ** (len(self.generator_widths) - 1)

    @property
    def context_n_steps(self) -> int:
        """Steps beyond its window that the generator reads on each side: at most 2·seq_len."""
        return 0 if self.normalisation == "patch" else _CONTEXT_N_COARSEST * self.coarsest_n_steps


@dataclasses.dataclass(frozen=True)
class ConditioningConfig:
    """What the generator is given beside coordinates and style (paper §5.1, §5.2)."""

    # Its signals, in the order of the network's inputs; none: an unconditional system.
    signals: tuple[Signal, ...] = ()
    # Note onsets per second that make a note density of 1.
    max_onsets_per_second: float = 20.0

    def __post_init__(self):
        require_positive(self, "max_onsets_per_second")
        if len(set(self.names)) != self.n_signals:
            raise ValueError(f"signals {', '.join(self.names)}: each name may stand there once")
        asked = [signal.name for signal in self.asked]
        if len(set(asked)) != len(asked):
            raise ValueError(
                f"signals {', '.join(self.names)}: {BEATS} has a tempo, so {TEMPO_SIGNAL.name} may "
                "not stand beside it"
            )

    @property
    def n_signals(self) -> int:
        """0 for an unconditional system."""
        return len(self.signals)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the signals, in their order."""
        return tuple(signal.name for signal in self.signals)

    @property
    def n_features(self) -> int:
        """Numbers a step that networks see of the signals."""
        return sum(signal.n_features for signal in self.signals)

    @property
    def asked(self) -> tuple[Signal, ...]:
        """What people give for each signal: `Signal.asked`."""
        return tuple(signal.asked for signal in self.signals)

    @property
    def along_time(self) -> tuple[Signal, ...]:
        """What a model takes of each signal a latent step: `Signal.along_time`."""
        return tuple(signal.along_time for signal in self.signals)


@dataclasses.dataclass(frozen=True)
class Config:
    """One system: what its shards, latents, checkpoints and exported model must agree on."""

    audio: AudioConfig = AudioConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    gan: GanConfig = GanConfig()
    conditioning: ConditioningConfig = ConditioningConfig()

    def __post_init__(self):
        n_halvings = len(self.autoencoder.level1_decoder_widths) - 1
        for name, factor in (
            ("level2_strides multiply to", self.level2_ratio),
            ("level1_decoder_widths halve the rate by", 2**n_halvings),
        ):
            if self.audio.excerpt_n_frames % factor:
                raise ValueError(
                    f"{name} {factor}, which must divide "
                    f"excerpt_n_frames={self.audio.excerpt_n_frames}"
                )
        if self.autoencoder.principal_path:
            self._require_enough_numbers()
        if self.gan.seq_len % self.excerpt_n_latents:
            raise ValueError(
                f"seq_len={self.gan.seq_len} must be a multiple of the "
                f"{self.excerpt_n_latents} latents of an excerpt"
            )

    def _require_enough_numbers(self) -> None:
        """There are as many principal components as there are numbers to each latent, no more."""
        sizes = self.autoencoder
        for level, depth, n_numbers in (
            (1, sizes.level1_latent_depth, self.audio.n_bins),
            (2, sizes.level2_latent_depth, self.level2_ratio * sizes.level1_latent_depth),
        ):
            if depth > n_numbers:
                raise ValueError(
                    f"level{level}_latent_depth={depth} must be at most {n_numbers}, what one "
                    "latent stands for, or principal_path must be off"
                )

    @property
    def level2_ratio(self) -> int:
        """Level-1 latents to one level-2 latent: 16 (piano) or 8 (universal)."""
        return math.prod(self.autoencoder.level2_strides)

    @property
    def latent_hop_size(self) -> int:
        """Samples to one level-2 latent: the total time compression r of the paper."""
        return self.audio.hop_size * self.level2_ratio

    @property
    def second_n_latents(self) -> int:
        """Latents of about a second, at least one."""
        return max(1, round(self.audio.sample_rate_hz / self.latent_hop_size))

    @property
    def excerpt_n_latents(self) -> int:
        """Level-2 latents of one excerpt."""
        return self.audio.excerpt_n_frames // self.level2_ratio

    @property
    def window_n_latents(self) -> int:
        """Windows that generator and decoder make as a whole are multiples of it."""
        return math.lcm(self.gan.coarsest_n_steps, self.excerpt_n_latents)

    @property
    def stereo_latent_depth(self) -> int:
        """Channels of the latents that the generator makes: left's, then right's."""
        return N_CHANNELS * self.autoencoder.level2_latent_depth

    @property
    def patch_n_samples(self) -> int:
        """Samples decoded from one generator call: seq_len·r, 11.9 s in the paper."""
        return self.gan.seq_len * self.latent_hop_size

    @property
    def anchor_hop_size(self) -> int:
        """Samples between two anchors: 2·seq_len·r, 23.8 s in the paper."""
        return 2 * self.patch_n_samples

    @property
    def as_trained(self) -> Config:
        """Without responses of signals: a training neither knows nor keeps them."""
        signals = tuple(dataclasses.replace(x, response=()) for x in self.conditioning.signals)
        conditioning = dataclasses.replace(self.conditioning, signals=signals)
        return dataclasses.replace(self, conditioning=conditioning)

    def to_json(self) -> str:
        """The whole config as JSON text; `from_json` takes it back."""
        return sections.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Reads what `to_json` wrote, in this version or an earlier one.

        Raises:
          ValueError: no JSON object, an unknown version, missing or unknown sections or fields, or
            values that do not fit.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a config is a JSON object, not {text[:40]}")
        version = values.pop("version", None)
        if version == 1:  # The first conditional systems brought this section.
            values = {"conditioning": {}, **values}
        kinds = typing.get_type_hints(cls)
        if values.keys() != kinds.keys():
            raise ValueError(
                f"a config has the sections {', '.join(kinds)}, this one has "
                f"{', '.join(values) or 'none'}: use the release that wrote it"
            )
        return cls(**{k: sections.section_from_dict(kinds[k], values[k], version) for k in values})
