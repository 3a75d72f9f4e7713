"""The contract of the exported model: what each signature takes, computes and gives."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from export.schema import Following, Interval, Length, Port, Signature, Size
from musika_tf.config import N_CHANNELS, Config
from musika_tf.networks import coordinates
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.sections import require


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much one request may ask for: what bounds the memory and time that it takes.

    Attributes:
      max_seconds: length of a row of audio.
      max_batch_size: rows.
      max_batch_seconds: audio of all rows together, each as long as the longest.

    Raises:
      ValueError: a limit is not above 0.
    """

    max_seconds: float = 600.0
    max_batch_size: int = 32
    # 1200 s take about 1.5 GB.
    max_batch_seconds: float = 1200.0

    def __post_init__(self):
        require(self, "be above 0", lambda value: 0 < value < math.inf, *dataclasses.asdict(self))
        if self.max_batch_seconds < self.max_seconds:
            raise ValueError(
                f"max_batch_seconds={self.max_batch_seconds:g} must be at least "
                f"max_seconds={self.max_seconds:g}, or the longest row cannot be made"
            )

    def max_anchors(self, config: Config) -> int:
        """Anchors of the longest row: enough for `max_seconds`."""
        seconds_per_anchor = config.anchor_hop_size / config.audio.sample_rate_hz
        return math.ceil(self.max_seconds / seconds_per_anchor) + 1


def contract(synthesizer: Synthesizer, limits: Limits | None = None) -> dict[str, Signature]:
    """The signatures of the exported model, by name; without limits those of `Limits` hold."""
    ports = _Ports(synthesizer.config, limits or Limits())
    makers = {
        "serving_default": _serving_default,
        "generate": _generate,
        "generate_wav": _generate_wav,
        "latents": _latents,
        "decode": _decode,
    }
    return {name: make(synthesizer, ports) for name, make in makers.items()}


def _serving_default(synthesizer: Synthesizer, ports: _Ports) -> Signature:
    config = synthesizer.config
    n_steps = Following(ports.n_anchors, 1, 2 * config.gan.seq_len)
    style = ports.style("style of the whole piece")
    return Signature(
        inputs={"anchors": ports.anchors(), "style": style} | ports.conditioning(n_steps),
        outputs={"waveform": ports.waveform(f"(A-1)·{config.anchor_hop_size}")},
        compute=lambda **inputs: {"waveform": synthesizer.waveform(**inputs)},
        length=ports.length("anchors", 1, config.anchor_hop_size),
    )


def _generate(synthesizer: Synthesizer, ports: _Ports) -> Signature:
    rate_hz = synthesizer.config.audio.sample_rate_hz
    return Signature(
        inputs=ports.request(),
        outputs={"waveform": ports.waveform(f"round(max(seconds)·{rate_hz})")},
        compute=lambda **inputs: {"waveform": _pieces(synthesizer, **inputs)[0]},
        length=ports.asked_length(),
    )


def _generate_wav(synthesizer: Synthesizer, ports: _Ports) -> Signature:
    rate_hz = synthesizer.config.audio.sample_rate_hz

    def compute(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        wav_bytes = tf.map_fn(
            lambda row: tf.audio.encode_wav(row[0][: row[1]], rate_hz),
            _pieces(synthesizer, **inputs),
            fn_output_signature=tf.string,
        )
        return {"wav_bytes": wav_bytes}

    meaning = f"a WAV file of each row, stereo, 16 bit, {rate_hz} Hz, as long as its seconds"
    outputs = {"wav_bytes": Port((ports.batch,), meaning, "16-bit PCM", tf.string)}
    return Signature(ports.request(), outputs, compute, ports.asked_length())


def _pieces(
    synthesizer: Synthesizer,
    seed: tf.Tensor,
    seconds: tf.Tensor,
    truncation: tf.Tensor,
    **signals: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `Synthesizer.generate`, with a value [B] of what is asked for each signal, by its name."""
    values = [signals[asked.name] for asked in synthesizer.config.conditioning.asked]
    constants = tf.stack(values, axis=-1) if values else None
    return synthesizer.generate(seed, seconds, truncation, constants)


def _latents(synthesizer: Synthesizer, ports: _Ports) -> Signature:
    config = synthesizer.config
    both_contexts = 2 * config.gan.context_n_steps
    n_steps = Following(ports.window, 0, 1)
    return Signature(
        inputs={
            "coordinates": ports.coordinates(),
            "style": ports.style("style, one a latent step", n_steps),
            "start": ports.start(),
        }
        | ports.conditioning(n_steps),
        outputs={"latents": ports.latents(f"{ports.window}-{both_contexts}")},
        compute=lambda **inputs: {"latents": synthesizer.latents(**inputs)},
        length=ports.length("coordinates", both_contexts, config.latent_hop_size),
    )


def _decode(synthesizer: Synthesizer, ports: _Ports) -> Signature:
    def compute(latents: tf.Tensor, overlap: tf.Tensor) -> dict[str, tf.Tensor]:
        waveform, overlap = synthesizer.decode(latents, overlap)
        return {"waveform": waveform, "overlap": overlap}

    hop_size = synthesizer.config.latent_hop_size
    return Signature(
        inputs={"latents": ports.latents(ports.whole_excerpts), "overlap": ports.overlap()},
        outputs={"waveform": ports.waveform(f"k·{hop_size}"), "overlap": ports.overlap()},
        compute=compute,
        length=ports.length("latents", 0, hop_size),
    )


class _Ports:
    """The inputs and outputs that signatures share, in the sizes of one system."""

    def __init__(self, config: Config, limits: Limits):
        self._config = config
        self._limits = limits
        max_anchors = limits.max_anchors(config)
        self.batch = Size("B", 1, limits.max_batch_size)
        self.n_anchors = Size("A", 2, max_anchors)
        excerpt = config.excerpt_n_latents
        max_latents = (max_anchors - 1) * 2 * config.gan.seq_len
        self.whole_excerpts = Size("k", excerpt, max_latents, multiple_of=excerpt)
        coarsest, context = config.gan.coarsest_n_steps, 2 * config.gan.context_n_steps
        # The contexts are whole coarsest steps too.
        self.window = Size("N", coarsest + context, max_latents + context, multiple_of=coarsest)

    def anchors(self) -> Port:
        shape = (self.batch, self.n_anchors, self._config.gan.anchor_depth)
        seconds = self._config.anchor_hop_size / self._config.audio.sample_rate_hz
        return Port(
            shape, f"latent coordinates, one every {seconds:.3f} s", "standard normal draws"
        )

    def coordinates(self) -> Port:
        shape = (self.batch, self.window, self._config.gan.anchor_depth)
        meaning = "anchors interpolated linearly, one a latent step; the latents are those of all "
        meaning += f"steps but the first and the last {self._config.gan.context_n_steps}"
        return Port(shape, meaning, "as between two anchors")

    def start(self) -> Port:
        gan = self._config.gan
        meaning = (
            f"step of the first latent on the line, where anchors stand every {2 * gan.seq_len}"
        )
        multiple = gan.coarsest_n_steps
        text = f"a multiple of {multiple}"
        return Port((self.batch,), meaning, text, tf.int32, multiple_of=multiple)

    def style(self, meaning: str, *n_steps: Following) -> Port:
        shape = (self.batch, *n_steps, self._config.gan.style_depth)
        return Port(shape, meaning, "standard normal draws")

    def conditioning(self, n_steps: Following) -> dict[str, Port]:
        """The input `conditioning` of a conditional system; nothing of another."""
        signals = self._config.conditioning.along_time
        if not signals:
            return {}
        names = ", ".join(signal.name for signal in signals)
        intervals = tuple(
            Interval.of(signal, f" channel {channel}, {signal.name},")
            for channel, signal in enumerate(signals)
        )
        ranges = "; ".join(f"{s.name} {i.text}" for s, i in zip(signals, intervals, strict=True))
        shape = (self.batch, n_steps, len(signals))
        meaning = f"conditioning of the piece, one value a latent step: {names}"
        return {"conditioning": Port(shape, meaning, ranges, intervals=intervals)}

    def signals(self) -> dict[str, Port]:
        """An input for each signal of a conditional system, held for the whole piece."""
        return {
            signal.name: Port(
                (self.batch,),
                f"{signal.name} of the whole piece, in {signal.unit}",
                f"from {signal.range_text}",
                intervals=(Interval.of(signal),),
            )
            for signal in self._config.conditioning.asked
        }

    def seed(self) -> Port:
        meaning = "two numbers that the piece is drawn from"
        return Port((self.batch, 2), meaning, "any int32", tf.int32)

    def seconds(self) -> Port:
        meaning = "length of the piece in seconds; a batch is as long as its longest row, and "
        meaning += "shorter ones end in silence"
        interval = Interval.above_zero(self._limits.max_seconds)
        example = min(1.0, self._limits.max_seconds)
        return Port((self.batch,), meaning, interval.text, intervals=(interval,), example=example)

    def truncation(self) -> Port:
        meaning = "where the normal draws of anchors and style are cut: 2 is usual, smaller is "
        meaning += "more stable, larger more varied"
        interval = Interval.above_zero(coordinates.MAX_TRUNCATION)
        return Port((self.batch,), meaning, interval.text, intervals=(interval,), example=2.0)

    def latents(self, n_latents: str | Size) -> Port:
        shape = (self.batch, n_latents, self._config.stereo_latent_depth)
        return Port(shape, "level-2 latents: left's channels, then right's", "[-1, 1]")

    def overlap(self) -> Port:
        shape = (self.batch, self._config.audio.overlap_size, N_CHANNELS)
        meaning = "samples left and right that a chunk adds to the next one; zeros before the first"
        return Port(shape, meaning, "finite")

    def waveform(self, n_samples: str) -> Port:
        meaning = f"samples left and right at {self._config.audio.sample_rate_hz} Hz"
        return Port((self.batch, n_samples, N_CHANNELS), meaning, "[-1, 1]")

    def request(self) -> dict[str, Port]:
        """Inputs of a piece by its seed: one more for each signal, whatever their number."""
        drawn = {"seed": self.seed(), "seconds": self.seconds(), "truncation": self.truncation()}
        return drawn | self.signals()

    def asked_length(self) -> Length:
        """Of a piece as long as it was asked for."""
        return Length("seconds", tf.reduce_max, self._limits.max_batch_seconds)

    def length(self, of: str, n_ends: int, samples_per_step: int) -> Length:
        """Of an input along time, `n_ends` of whose steps only say what is around the others."""
        seconds_per_step = samples_per_step / self._config.audio.sample_rate_hz

        def seconds(value: tf.Tensor) -> tf.Tensor:
            n_steps = tf.cast(tf.shape(value)[1] - n_ends, tf.float32)
            return n_steps * seconds_per_step

        return Length(of, seconds, self._limits.max_batch_seconds)
