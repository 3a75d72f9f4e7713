"""Training batches: pure functions of a seed and the step, so that step n always sees batch n."""

from __future__ import annotations

import abc
import dataclasses
import os
from typing import Any, ClassVar, NamedTuple

import numpy as np

from musika_tf.config import INT16_SCALE, ConditioningConfig
from musika_tf.data.latent_labels import LatentSignals
from musika_tf.data.shards import Position, Shards
from musika_tf.sections import section_from_dict


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a batch, the same at every step."""

    shape: tuple[int, ...]
    dtype: np.dtype


class _Batches(abc.ABC):
    """The draw of crops from the training split.

    Attributes:
      shards: what they are drawn from.
    """

    _dtype_kind: ClassVar[str]
    _content: ClassVar[str]

    def __init__(self, shards: Shards, batch_size: int, crop_n_rows: int, seed: int):
        """Checks that the batches can be made.

        Args:
          shards: int16 ones of waveforms, float ones of latents.
          batch_size: crops a batch, at least 1.
          crop_n_rows: samples or latents of each crop.
          seed: not negative; batches of another seed are independent.

        Raises:
          ValueError: other shards, bad sizes, or no training source as long as a crop.
        """
        if shards.dtype.kind != self._dtype_kind:
            raise ValueError(
                f"these shards hold {shards.dtype.name}, which are not {self._content}: musika-"
                "prepare makes waveform shards, musika-encode makes latent shards"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative")
        self.shards = shards
        self._batch_size = batch_size
        self._crop_n_rows = crop_n_rows
        self._seed = seed
        # A first batch tells at once, not in the middle of a pipeline, if no source is long enough.
        self.array_specs = tuple(ArraySpec(array.shape, array.dtype) for array in self(0))

    def as_dict(self) -> dict[str, Any]:
        """JSON values from which `from_dict` makes the same batches."""
        return {
            "content": self._content,
            "batch_size": self._batch_size,
            "crop_n_rows": self._crop_n_rows,
            "seed": self._seed,
        }

    def __call__(self, step: int) -> tuple[np.ndarray, ...]:
        """The batch of one step, from 0, whatever was asked for before: as `array_specs` say."""
        rng = np.random.default_rng([self._seed, int(step)])
        positions = self.shards.random_positions(rng, self._batch_size, self._crop_n_rows)
        return self._arrays(positions, rng)

    @abc.abstractmethod
    def _arrays(
        self, positions: list[Position], rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        """The arrays of the crops at these positions."""


class WaveformBatches(_Batches):
    """Mono waveforms for the autoencoders, float32 [batch, crop_n_rows] in [-1, 1].

    Each crop is one channel, drawn at random, of a random place of the training split.
    """

    _dtype_kind = "i"
    _content = "waveforms"

    def _arrays(
        self, positions: list[Position], rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        crops = self.shards.crops(positions, self._crop_n_rows)
        channels = rng.integers(crops.shape[2], size=len(crops))
        mono = crops[np.arange(len(crops)), :, channels]  # [batch, crop_n_rows]
        return (mono.astype(np.float32) / INT16_SCALE,)


class LatentBatches(_Batches):
    """Latent sequences for the latent GAN, and the conditioning of a conditional one.

    Float32 latents [batch, crop_n_rows, depth]; of a conditional system also the conditioning
    [batch, crop_n_rows + 2·context, n_signals] in user units.

    Attributes:
      signals: where the conditioning comes from; None of an unconditional system.
      shards: without the sources that have no value of some signal.
    """

    _dtype_kind = "f"
    _content = "latents"

    def __init__(
        self,
        shards: Shards,
        batch_size: int,
        crop_n_rows: int,
        seed: int,
        conditioning: ConditioningConfig | None = None,
        context: int = 0,
    ):
        """Takes, besides what all batches do:

          conditioning: of the system; None, or one without signals: unconditional.
          context: steps of conditioning before and after each crop.

        Raises:
          ValueError: as of all batches; or the shards have no label of a signal.
        """
        self._context = context
        self._conditioning = conditioning if conditioning and conditioning.n_signals else None
        self.signals = self._conditioning and LatentSignals(shards, self._conditioning)
        if self.signals:
            shards = shards.without(self.signals.unknown)
        super().__init__(shards, batch_size, crop_n_rows, seed)

    def as_dict(self) -> dict[str, Any]:
        """JSON values from which `from_dict` makes the same batches."""
        conditioning = self._conditioning and dataclasses.asdict(self._conditioning)
        return super().as_dict() | {"conditioning": conditioning, "context": self._context}

    def _arrays(
        self, positions: list[Position], rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        latents = self.shards.crops(positions, self._crop_n_rows).astype(np.float32)
        if self.signals is None:
            return (latents,)
        return latents, self.signals.crops(positions, self._crop_n_rows, self._context)


def from_dict(values: dict[str, Any], folder: str | os.PathLike) -> WaveformBatches | LatentBatches:
    """The batches that `as_dict` described, of the shards in a folder."""
    shards = Shards.open(folder)
    sizes = shards, values["batch_size"], values["crop_n_rows"], values["seed"]
    if values["content"] == WaveformBatches._content:
        return WaveformBatches(*sizes)
    conditioning = values["conditioning"]
    conditioning = conditioning and section_from_dict(ConditioningConfig, conditioning)
    return LatentBatches(*sizes, conditioning, values["context"])
