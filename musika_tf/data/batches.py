"""Training batches: pure functions of a seed and the step, so that step n always sees batch n."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, NamedTuple

import numpy as np

from musika_tf.config import INT16_SCALE, ConditioningConfig
from musika_tf.data.latent_labels import LatentSignals
from musika_tf.data.shards import Position, Shards
from musika_tf.sections import section_from_dict


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a batch, the same at every step."""

    shape: tuple[int, ...]
    dtype: np.dtype


class _Batches:
    """What waveform and latent batches share: the draw of crops from the training split."""

    _dtype_kind: str
    _content: str

    def __init__(self, shards: Shards, batch_size: int, crop_n_rows: int, seed: int):
        if shards.dtype.kind != self._dtype_kind:
            raise ValueError(
                f"these shards hold {shards.dtype.name}, which are not {self._content}: musika-"
                "prepare makes waveform shards, musika-encode makes latent shards"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative")
        self._shards = shards
        self._batch_size = batch_size
        self._crop_n_rows = crop_n_rows
        self._seed = seed
        self(0)  # Tells at once, not in the middle of a pipeline, if no source is long enough.

    def as_dict(self) -> dict[str, Any]:
        """JSON values from which `from_dict` makes the same batches."""
        return {
            "content": self._content,
            "batch_size": self._batch_size,
            "crop_n_rows": self._crop_n_rows,
            "seed": self._seed,
        }

    def __call__(self, step: int) -> tuple[np.ndarray, ...]:
        """The batch of one step, whatever was asked for before.

        Args:
          step: number of the training step, from 0.

        Returns:
          A tuple of arrays as in `array_specs`.
        """
        rng = np.random.default_rng([self._seed, int(step)])
        positions = self._shards.random_positions(rng, self._batch_size, self._crop_n_rows)
        return self._arrays(positions, rng)

    def _arrays(
        self, positions: list[Position], rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        raise NotImplementedError


class WaveformBatches(_Batches):
    """Mono waveforms for the autoencoders, float32 [batch, crop_n_samples] in [-1, 1].

    Each crop is one channel, drawn at random, of a random place of the training split.
    """

    _dtype_kind = "i"
    _content = "waveforms"

    def __init__(self, shards: Shards, batch_size: int, crop_n_samples: int, seed: int):
        """Checks that the batches can be made.

        Args:
          shards: waveform shards, int16.
          batch_size: crops a batch, at least 1.
          crop_n_samples: samples of each crop.
          seed: not negative; batches of another seed are independent.

        Raises:
          ValueError: latent shards, bad sizes, or no training source as long as a crop.
        """
        super().__init__(shards, batch_size, crop_n_samples, seed)
        self.array_specs = (ArraySpec((batch_size, crop_n_samples), np.dtype(np.float32)),)

    def _arrays(
        self, positions: list[Position], rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        crops = self._shards.crops(positions, self._crop_n_rows)
        channels = rng.integers(crops.shape[2], size=len(crops))
        mono = crops[np.arange(len(crops)), :, channels]  # [batch, crop_n_samples]
        return (mono.astype(np.float32) / INT16_SCALE,)


class LatentBatches(_Batches):
    """Latent sequences for the latent GAN, and the conditioning of a conditional one.

    Float32 latents [batch, crop_n_latents, depth]; of a conditional system also the conditioning
    [batch, crop_n_latents, n_signals] in user units.

    Attributes:
      signals: where the conditioning comes from; None of an unconditional system.
    """

    _dtype_kind = "f"
    _content = "latents"

    def __init__(
        self,
        shards: Shards,
        batch_size: int,
        crop_n_latents: int,
        seed: int,
        conditioning: ConditioningConfig | None = None,
    ):
        """Checks that the batches can be made.

        Args:
          shards: latent shards, float16 or float32.
          batch_size: crops a batch, at least 1.
          crop_n_latents: latents of each crop.
          seed: not negative; batches of another seed are independent.
          conditioning: of the system; None, or one without signals: it is unconditional.

        Raises:
          ValueError: waveform shards, bad sizes, no training source as long as a crop, or no label
            of a signal.
        """
        is_conditional = conditioning is not None and conditioning.n_signals > 0
        self.signals = LatentSignals(shards, conditioning) if is_conditional else None
        self._conditioning = conditioning
        super().__init__(shards, batch_size, crop_n_latents, seed)
        depths = [shards.n_channels, *([conditioning.n_signals] if is_conditional else [])]
        self.array_specs = tuple(
            ArraySpec((batch_size, crop_n_latents, depth), np.dtype(np.float32)) for depth in depths
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON values from which `from_dict` makes the same batches."""
        conditioning = self.signals and dataclasses.asdict(self._conditioning)
        return super().as_dict() | {"conditioning": conditioning}

    def _arrays(
        self, positions: list[Position], rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        latents = self._shards.crops(positions, self._crop_n_rows).astype(np.float32)
        if self.signals is None:
            return (latents,)
        return latents, self.signals.crops(positions, self._crop_n_rows)


def from_dict(values: dict[str, Any], folder: str | os.PathLike) -> WaveformBatches | LatentBatches:
    """The batches that `as_dict` described, of the shards in a folder."""
    shards = Shards.open(folder)
    sizes = shards, values["batch_size"], values["crop_n_rows"], values["seed"]
    if values["content"] == WaveformBatches._content:
        return WaveformBatches(*sizes)
    conditioning = values["conditioning"]
    if conditioning is not None:
        conditioning = section_from_dict(ConditioningConfig, conditioning)
    return LatentBatches(*sizes, conditioning)
