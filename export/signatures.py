"""The contract of the exported model: what each signature takes, checks, computes and gives.

A signature is a table of named inputs and outputs and a function between them. The same table makes
the checks in the graph, the shapes that a model server shows and the description in metadata.json.

In the graph inputs accept any shape, so that the checks can answer: had they a shape there,
TensorFlow would take it for granted, leave the checks out, and fail somewhere inside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from musika_tf.conditioning import signals as signals_lib
from musika_tf.config import N_CHANNELS, Config, Signal
from musika_tf.synthesis import Synthesizer


@dataclasses.dataclass(frozen=True)
class Size:
    """A size that the caller chooses: any multiple of `multiple_of`, at least `minimum`."""

    name: str
    minimum: int = 1
    multiple_of: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def rule(self) -> str:
        """What it may be, in words."""
        if self.multiple_of > 1:
            return f"{self.name} a multiple of {self.multiple_of}"
        return f"{self.name} at least {self.minimum}"


@dataclasses.dataclass(frozen=True)
class Following:
    """A size that follows from one that the caller chose for another input: (size - less)·times."""

    size: Size
    less: int
    times: int

    def __str__(self) -> str:
        return f"({self.size}-{self.less})·{self.times}"

    def of(self, size: int | tf.Tensor) -> int | tf.Tensor:
        """The size for a value of that other size."""
        return (size - self.less) * self.times


@dataclasses.dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
      shape: sizes, batch first: a number, a Size, a Following, or, of an output, a formula.
      meaning: what it is, with its unit.
      range: the values that it takes.
      dtype: of the tensor.
      signals: of conditioning: what the last axis holds, each with a range that is checked.
    """

    shape: tuple[int | Size | Following | str, ...]
    meaning: str
    range: str
    dtype: tf.DType = tf.float32
    signals: tuple[Signal, ...] = ()

    @property
    def static_shape(self) -> tf.TensorShape:
        """The shape as far as it is fixed."""
        return tf.TensorShape([size if isinstance(size, int) else None for size in self.shape])

    @property
    def shape_text(self) -> str:
        """The shape with the rules of its sizes: `[B, A, 64] with B at least 1, A at least 2`."""
        rules = ", ".join(size.rule for size in self.shape if isinstance(size, Size))
        return f"[{', '.join(map(str, self.shape))}] with {rules}"

    def as_dict(self) -> dict:
        """For metadata.json."""
        sizes = {size.name: size.rule for size in self.shape if isinstance(size, Size)}
        return {
            "shape": [size if isinstance(size, int) else str(size) for size in self.shape],
            "dtype": self.dtype.name,
            "meaning": self.meaning,
            "range": self.range,
        } | ({"sizes": sizes} if sizes else {})


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry point of the exported model.

    Attributes:
      inputs, outputs: by name.
      compute: takes the inputs as keywords and gives the outputs by name; traceable.
    """

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    compute: Callable[..., dict[str, tf.Tensor]]

    def __call__(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Checks the inputs and computes the outputs.

        Raises:
          InvalidArgumentError: the message names the input and says what it should be.
        """
        checked = {name: _checked(name, port, inputs[name]) for name, port in self.inputs.items()}
        return self.compute(**_with_fitting_sizes(_with_equal_batches(checked), self.inputs))

    def traced(self) -> tf.types.experimental.ConcreteFunction:
        """The graph: a plain function without jit_compile, which model servers refuse."""
        specs = {name: tf.TensorSpec(None, p.dtype, name) for name, p in self.inputs.items()}
        return tf.function(self.__call__, autograph=False).get_concrete_function(**specs)

    def unchecked(self) -> tf.types.experimental.ConcreteFunction:
        """The graph without checks: it rounds like `traced`, which eager execution does not."""
        specs = {
            name: tf.TensorSpec(port.static_shape, port.dtype, name)
            for name, port in self.inputs.items()
        }
        return tf.function(self.compute, autograph=False).get_concrete_function(**specs)

    def example(self, batch_size: int = 2) -> dict[str, np.ndarray]:
        """Valid float inputs of the smallest sizes, the same every time: for trials."""
        generator = np.random.default_rng(seed=0)
        shapes = {
            name: (batch_size, *(_smallest(size) for size in port.shape[1:]))
            for name, port in self.inputs.items()
        }
        draws = {name: np.tanh(generator.normal(size=shape)) for name, shape in shapes.items()}
        return {name: _as_valid(draws[name], port) for name, port in self.inputs.items()}


def contract(synthesizer: Synthesizer) -> dict[str, Signature]:
    """The signatures of the exported model, by name."""
    config = synthesizer.config
    ports, seq_len = _Ports(config), config.gan.seq_len

    def waveform(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"waveform": synthesizer.waveform(**inputs)}

    def latents(coordinates: tf.Tensor, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"latents": synthesizer.latents(coordinates, **inputs)}

    def decode(latents: tf.Tensor, overlap: tf.Tensor) -> dict[str, tf.Tensor]:
        waveform, overlap = synthesizer.decode(latents, overlap)
        return {"waveform": waveform, "overlap": overlap}

    return {
        "serving_default": Signature(
            inputs={"anchors": ports.anchors(), "style": ports.style()}
            | ports.conditioning(Following(ports.n_anchors, 1, 2 * seq_len)),
            outputs={"waveform": ports.waveform(f"(A-1)·{config.anchor_hop_size}")},
            compute=waveform,
        ),
        "latents": Signature(
            inputs={"coordinates": ports.coordinates(), "style": ports.style()}
            | ports.conditioning(seq_len),
            outputs={"latents": ports.latents(seq_len)},
            compute=latents,
        ),
        "decode": Signature(
            inputs={"latents": ports.latents(ports.whole_excerpts), "overlap": ports.overlap()},
            outputs={
                "waveform": ports.waveform(f"k·{config.latent_hop_size}"),
                "overlap": ports.overlap(),
            },
            compute=decode,
        ),
    }


class _Ports:
    """The inputs and outputs that signatures share, in the sizes of one system."""

    batch = Size("B")
    n_anchors = Size("A", 2)

    def __init__(self, config: Config):
        self._config = config
        self.whole_excerpts = Size("k", config.excerpt_n_latents, config.excerpt_n_latents)

    def anchors(self) -> Port:
        shape = (self.batch, self.n_anchors, self._config.gan.anchor_depth)
        seconds = self._config.anchor_hop_size / self._config.audio.sample_rate_hz
        return Port(
            shape, f"latent coordinates, one every {seconds:.3f} s", "standard normal draws"
        )

    def coordinates(self) -> Port:
        shape = (self.batch, self._config.gan.seq_len, self._config.gan.anchor_depth)
        return Port(
            shape, "anchors interpolated linearly, one a latent step", "as between two anchors"
        )

    def style(self) -> Port:
        shape = (self.batch, self._config.gan.style_depth)
        return Port(shape, "style of the whole piece", "standard normal draws")

    def conditioning(self, n_steps: int | Following) -> dict[str, Port]:
        """The input `conditioning` of a conditional system; nothing of another."""
        signals = self._config.conditioning.signals
        if not signals:
            return {}
        names = ", ".join(signal.name for signal in signals)
        ranges = "; ".join(f"{signal.name} from {signal.range_text}" for signal in signals)
        shape = (self.batch, n_steps, len(signals))
        meaning = f"what the piece is told, one value a latent step: {names}"
        return {"conditioning": Port(shape, meaning, ranges, signals=signals)}

    def latents(self, n_latents: int | Size) -> Port:
        shape = (self.batch, n_latents, self._config.stereo_latent_depth)
        return Port(shape, "level-2 latents: left's channels, then right's", "[-1, 1]")

    def overlap(self) -> Port:
        shape = (self.batch, self._config.audio.overlap_size, N_CHANNELS)
        meaning = "samples left and right that a chunk adds to the next one; zeros before the first"
        return Port(shape, meaning, "finite")

    def waveform(self, n_samples: str) -> Port:
        meaning = f"samples left and right at {self._config.audio.sample_rate_hz} Hz"
        return Port((self.batch, n_samples, N_CHANNELS), meaning, "[-1, 1]")


def _smallest(size: int | Size | Following | str) -> int:
    if isinstance(size, Following):
        return size.of(size.size.minimum)
    return size.minimum if isinstance(size, Size) else size


def _as_valid(draws: np.ndarray, port: Port) -> np.ndarray:
    """Numbers in [-1, 1] as values that the port takes."""
    if port.signals:
        draws = signals_lib.from_model_units(draws, port.signals)
        return signals_lib.limited(draws, port.signals)
    return draws.astype(np.float32)


def _checked(name: str, port: Port, value: tf.Tensor) -> tf.Tensor:
    """The value, once its shape and its numbers have passed."""
    shape = tf.shape(value)
    wanted = f"`{name}` must have shape {port.shape_text}, not"
    with tf.control_dependencies([tf.debugging.Assert(_fits(shape, port), [wanted, shape])]):
        value = tf.identity(value)
    finite = tf.reduce_all(tf.math.is_finite(value))
    problem = f"`{name}` holds NaN or infinite values; it must be finite: {port.meaning}"
    with tf.control_dependencies([tf.debugging.Assert(finite, [problem])]):
        value = tf.identity(value)
    with tf.control_dependencies(_range_assertions(name, port, value)):
        return tf.ensure_shape(value, port.static_shape)


def _range_assertions(name: str, port: Port, value: tf.Tensor) -> list[tf.Operation]:
    """One assertion a signal: that its values are in its range."""
    assertions = []
    for index, signal in enumerate(port.signals):
        values = value[..., index]
        least, greatest = tf.reduce_min(values), tf.reduce_max(values)
        problem = (
            f"`{name}` channel {index}, {signal.name}, must be from {signal.range_text}; its least "
            "and greatest value are"
        )
        inside = (least >= signal.minimum) & (greatest <= signal.maximum)
        assertions.append(tf.debugging.Assert(inside, [problem, least, greatest]))
    return assertions


def _fits(shape: tf.Tensor, port: Port) -> tf.Tensor:
    rank = len(port.shape)
    # Filled up, so that too low a rank is an answer and not an error in reading it.
    sizes = tf.unstack(tf.concat([shape, tf.zeros([rank], tf.int32)], axis=0)[:rank], num=rank)
    fits = [tf.equal(tf.size(shape), rank)]
    for size, wanted in zip(sizes, port.shape, strict=True):
        if isinstance(wanted, Size):
            fits += [size >= wanted.minimum, tf.equal(size % wanted.multiple_of, 0)]
        elif isinstance(wanted, int):
            fits.append(tf.equal(size, wanted))
    return tf.reduce_all(tf.stack(fits))


def _with_equal_batches(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The inputs, once all of them have passed as having as many rows as the first."""
    (first_name, first), *others = inputs.items()
    assertions = [
        tf.debugging.Assert(
            tf.equal(tf.shape(value)[0], tf.shape(first)[0]),
            [f"`{name}` must have as many rows as `{first_name}`, {first_name} and {name} have"]
            + [tf.shape(first)[0], tf.shape(value)[0]],
        )
        for name, value in others
    ]
    with tf.control_dependencies(assertions):
        return {name: tf.identity(value) for name, value in inputs.items()}


def _with_fitting_sizes(
    inputs: dict[str, tf.Tensor], ports: Mapping[str, Port]
) -> dict[str, tf.Tensor]:
    """The inputs, once their sizes have passed as following from those of other inputs."""
    chosen = {
        size.name: (name, tf.shape(inputs[name])[axis])
        for name, port in ports.items()
        for axis, size in enumerate(port.shape)
        if isinstance(size, Size)
    }
    assertions = []
    for name, port in ports.items():
        for axis, size in enumerate(port.shape):
            if isinstance(size, Following):
                origin, value = chosen[size.size.name]
                wanted, found = size.of(value), tf.shape(inputs[name])[axis]
                problem = (
                    f"`{name}` must have {size} steps, {size.size} being that of `{origin}`; "
                    "wanted and found are"
                )
                equal = tf.equal(found, wanted)
                assertions.append(tf.debugging.Assert(equal, [problem, wanted, found]))
    with tf.control_dependencies(assertions):
        return {name: tf.identity(value) for name, value in inputs.items()}
