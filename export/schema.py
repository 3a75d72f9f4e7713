"""What a signature of the exported model is: ports with sizes and ranges, checked in the graph.

A signature is a table of named inputs and outputs and a function between them. The same table makes
the checks in the graph, the shapes that a model server shows and the description in metadata.json.

In the graph inputs accept any shape, so that the checks can answer: had they a shape there,
TensorFlow would take it for granted, leave the checks out, and fail somewhere inside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from musika_tf.config import Signal


@dataclasses.dataclass(frozen=True)
class Size:
    """A size that the caller chooses, a multiple of `multiple_of`."""

    name: str
    minimum: int
    maximum: int
    multiple_of: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def rule(self) -> str:
        """What it may be, in words."""
        limits = f"from {self.minimum} to {self.maximum}"
        multiple = f"a multiple of {self.multiple_of} " if self.multiple_of > 1 else ""
        return f"{self.name} {multiple}{limits}"


@dataclasses.dataclass(frozen=True)
class Following:
    """A size that follows from one that the caller chose for another input: (size - less)·times."""

    size: Size
    less: int
    times: int

    def __str__(self) -> str:
        size = f"({self.size}-{self.less})" if self.less else str(self.size)
        return size if self.times == 1 else f"{size}·{self.times}"

    def of(self, size: int | tf.Tensor) -> int | tf.Tensor:
        """The size for a value of that other size."""
        return (size - self.less) * self.times


@dataclasses.dataclass(frozen=True)
class Interval:
    """Between which numbers values must lie.

    Attributes:
      minimum: the least of them, or, with `is_open`, a number that all are above.
      maximum: the greatest of them.
      text: what comes after "must be".
      what: which of the values of an input are meant, if not all.
    """

    minimum: float
    maximum: float
    text: str
    what: str = ""
    is_open: bool = False

    @classmethod
    def above_zero(cls, maximum: float) -> Interval:
        """Above 0, at most `maximum`."""
        return cls(0.0, maximum, f"above 0 and at most {maximum:g}", is_open=True)

    @classmethod
    def of(cls, signal: Signal, what: str = "") -> Interval:
        """The range of a signal."""
        return cls(signal.minimum, signal.maximum, f"from {signal.range_text}", what)


@dataclasses.dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
      shape: sizes, batch first: a number, a Size, a Following, or, of an output, a formula.
      meaning: what it is, with its unit.
      range: the values that it takes, in words, if the meaning does not say them.
      dtype: of the tensor.
      intervals: what is checked of that: one for all values, or one for each channel of the last
        axis.
      example: a valid value; by default one is drawn.
      multiple_of: what whole numbers must be a multiple of.
    """

    shape: tuple[int | Size | Following | str, ...]
    meaning: str
    range: str = ""
    dtype: tf.DType = tf.float32
    intervals: tuple[Interval, ...] = ()
    example: float | None = None
    multiple_of: int = 1

    @property
    def static_shape(self) -> tf.TensorShape:
        """The shape as far as it is fixed."""
        return tf.TensorShape([size if isinstance(size, int) else None for size in self.shape])

    @property
    def shape_text(self) -> str:
        """The shape with the rules of its sizes: `[B, 64] with B from 1 to 32`."""
        rules = ", ".join(size.rule for size in self.shape if isinstance(size, Size))
        return f"[{', '.join(map(str, self.shape))}] with {rules}"

    def as_dict(self) -> dict:
        """For metadata.json."""
        described = {
            "shape": [size if isinstance(size, int) else str(size) for size in self.shape],
            "dtype": self.dtype.name,
            "meaning": self.meaning,
        }
        if self.range:
            described["range"] = self.range
        sizes = [size for size in self.shape if isinstance(size, Size)]
        if sizes:
            described["sizes"] = {size.name: _without(size, "name") for size in sizes}
        if self.multiple_of > 1:
            described["multiple_of"] = self.multiple_of
        if self.intervals:
            described["intervals"] = [_without(i, "text", "what") for i in self.intervals]
        return described


def _without(described: Size | Interval, *names: str) -> dict:
    """Fields of a dataclass by name, but for some."""
    fields = dataclasses.asdict(described)
    return {name: value for name, value in fields.items() if name not in names}


@dataclasses.dataclass(frozen=True)
class Length:
    """How much audio a request makes.

    Attributes:
      of: the input that says it.
      seconds: of a row, from that input.
      max_batch_seconds: of all rows together.
    """

    of: str
    seconds: Callable[[tf.Tensor], tf.Tensor]
    max_batch_seconds: float


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry point of the exported model.

    Attributes:
      inputs, outputs: by name.
      compute: takes the inputs as keywords and gives the outputs by name; traceable.
      length: how much audio it makes; None: none.
    """

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    compute: Callable[..., dict[str, tf.Tensor]]
    length: Length | None = None

    def __call__(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Checks the inputs and computes the outputs.

        Raises:
          InvalidArgumentError: the message names the input and says what it should be.
        """
        inputs = {name: _checked(name, port, inputs[name]) for name, port in self.inputs.items()}
        inputs = _after(_equal_batches(inputs), inputs)
        inputs = _after(_fitting_sizes(inputs, self.inputs), inputs)
        return self.compute(**_after(_bounded_length(inputs, self.length), inputs))

    def as_dict(self) -> dict:
        """For metadata.json."""
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        return {
            side: {name: port.as_dict() for name, port in ports.items()}
            for side, ports in sides.items()
        }

    def traced(self) -> tf.types.experimental.ConcreteFunction:
        """The graph: a plain function without jit_compile, which model servers refuse."""
        specs = {name: tf.TensorSpec(None, p.dtype, name) for name, p in self.inputs.items()}
        return tf.function(self.__call__, autograph=False).get_concrete_function(**specs)

    def unchecked(self) -> tf.types.experimental.ConcreteFunction:
        """The graph without checks: it rounds like `traced`, which eager execution does not."""
        ports = self.inputs.items()
        specs = {name: tf.TensorSpec(p.static_shape, p.dtype, name) for name, p in ports}
        return tf.function(self.compute, autograph=False).get_concrete_function(**specs)

    def example(self, batch_size: int = 2) -> dict[str, np.ndarray]:
        """Valid inputs of the smallest sizes, the same every time: for trials and warm-up."""
        generator = np.random.default_rng(seed=0)
        shapes = {
            name: (batch_size, *(_smallest(size) for size in port.shape[1:]))
            for name, port in self.inputs.items()
        }
        draws = {name: np.tanh(generator.normal(size=shape)) for name, shape in shapes.items()}
        return {name: _as_valid(draws[name], port) for name, port in self.inputs.items()}


def _smallest(size: int | Size | Following | str) -> int:
    if isinstance(size, Following):
        return size.of(size.size.minimum)
    return size.minimum if isinstance(size, Size) else size


def _as_valid(draws: np.ndarray, port: Port) -> np.ndarray:
    """Numbers in [-1, 1] as values that the port takes."""
    if port.example is not None:
        draws = np.full_like(draws, port.example)
    elif port.intervals:
        minimum, maximum = np.array([(i.minimum, i.maximum) for i in port.intervals]).T
        draws = minimum + (draws + 1.0) / 2.0 * (maximum - minimum)
    elif port.dtype.is_integer:
        draws = np.round(1000.0 * draws) * port.multiple_of
    return draws.astype(port.dtype.as_numpy_dtype)


def _after(
    assertions: Sequence[tf.Operation], inputs: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """The inputs, once assertions have passed."""
    with tf.control_dependencies(assertions):
        return {name: tf.identity(value) for name, value in inputs.items()}


def _checked(name: str, port: Port, value: tf.Tensor) -> tf.Tensor:
    """The value, once its shape and its numbers have passed."""
    shape = tf.shape(value)
    wanted = f"`{name}` must have shape {port.shape_text}, not"
    with tf.control_dependencies([tf.debugging.Assert(_fits(shape, port), [wanted, shape])]):
        value = tf.identity(value)
    if port.dtype.is_floating:
        finite = tf.reduce_all(tf.math.is_finite(value))
        problem = f"`{name}` holds NaN or infinite values; it must be finite: {port.meaning}"
        with tf.control_dependencies([tf.debugging.Assert(finite, [problem])]):
            value = tf.identity(value)
    with tf.control_dependencies(_range_assertions(name, port, value)):
        return tf.ensure_shape(value, port.static_shape)


def _range_assertions(name: str, port: Port, value: tf.Tensor) -> list[tf.Operation]:
    """That values are the multiples they should be, and, one an interval, that they lie in it."""
    assertions = []
    if port.multiple_of > 1:
        is_multiple = tf.reduce_all(value % port.multiple_of == 0)
        assertions.append(
            tf.debugging.Assert(is_multiple, [f"`{name}` must be {port.range}, not", value])
        )
    for channel, interval in enumerate(port.intervals):
        values = value if len(port.intervals) == 1 else value[..., channel]
        least, greatest = tf.reduce_min(values), tf.reduce_max(values)
        inside = greatest <= interval.maximum
        inside &= least > interval.minimum if interval.is_open else least >= interval.minimum
        problem = (
            f"`{name}`{interval.what} must be {interval.text}; its least and greatest value are"
        )
        assertions.append(tf.debugging.Assert(inside, [problem, least, greatest]))
    return assertions


def _fits(shape: tf.Tensor, port: Port) -> tf.Tensor:
    rank = len(port.shape)
    # Filled up, so that too low a rank is an answer and not an error in reading it.
    sizes = tf.unstack(tf.concat([shape, tf.zeros([rank], tf.int32)], axis=0)[:rank], num=rank)
    fits = [tf.equal(tf.size(shape), rank)]
    for size, wanted in zip(sizes, port.shape, strict=True):
        if isinstance(wanted, Size):
            fits += [
                size >= wanted.minimum,
                size <= wanted.maximum,
                tf.equal(size % wanted.multiple_of, 0),
            ]
        elif isinstance(wanted, int):
            fits.append(tf.equal(size, wanted))
    return tf.reduce_all(tf.stack(fits))


def _equal_batches(inputs: Mapping[str, tf.Tensor]) -> list[tf.Operation]:
    """That all of them have as many rows as the first."""
    (first_name, first), *others = inputs.items()
    return [
        tf.debugging.Assert(
            tf.equal(tf.shape(value)[0], tf.shape(first)[0]),
            [f"`{name}` must have as many rows as `{first_name}`, {first_name} and {name} have"]
            + [tf.shape(first)[0], tf.shape(value)[0]],
        )
        for name, value in others
    ]


def _fitting_sizes(
    inputs: Mapping[str, tf.Tensor], ports: Mapping[str, Port]
) -> list[tf.Operation]:
    """That sizes which follow from those of other inputs do so."""
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
    return assertions


def _bounded_length(inputs: Mapping[str, tf.Tensor], length: Length | None) -> list[tf.Operation]:
    """That they do not ask for too much audio in all."""
    if length is None:
        return []
    value = inputs[length.of]
    n_rows = tf.cast(tf.shape(value)[0], tf.float32)
    seconds = n_rows * length.seconds(value)
    problem = (
        f"`{length.of}` asks for more than {length.max_batch_seconds:g} seconds of audio in all "
        "rows together, each as long as the longest; send fewer rows or shorter ones; rows and "
        "seconds are"
    )
    # Sizes are whole and fit; what is slightly over is rounding.
    bounded = seconds <= 1.0001 * length.max_batch_seconds
    return [tf.debugging.Assert(bounded, [problem, n_rows, seconds])]
