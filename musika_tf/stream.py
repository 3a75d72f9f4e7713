"""A piece as it is played: chunk after chunk from any time on, steered while it plays.

    step          …  -1   0   1   2   3   4   5   6   7   8   9  10  11  …       of the piece's line
    courses       ───────────────────────┤ steered: style, truncation, controls ─────── …
    window                ├───────── latents ─────────┤         read with context on both sides
    excerpts              |   0   |   1   |   2   |   3   |   4   |   5   |   …
    chunks                └ made ┴─ made ┘└── next one ──┘

A window is made at once; what chunks leave of it is kept for the next. Steering throws that away
and begins a course at the step that comes next: the window is then made again of both, the old one
before that step and the new one from it on.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning.controls import Control
from musika_tf.config import N_CHANNELS, Config
from musika_tf.networks import coordinates

# 46 days, more than 1000 hours. Steps would stay in int32 for longer; random walks, which are drawn
# from their beginning, would not stay in memory.
MAX_START_SECONDS = 4e6

Seed = tuple[int, int]


class Model(Protocol):
    """What a stream asks for music; see `Player`."""

    config: Config

    def latents(self, **inputs: tf.Tensor) -> tf.Tensor: ...

    def decode(self, latents: tf.Tensor, overlap: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]: ...


@dataclasses.dataclass(frozen=True)
class _Course:
    """What a piece follows from a step on."""

    step: int
    style_seed: Seed
    truncation: float
    controls: tuple[Control, ...]


class Stream(Iterator[np.ndarray]):
    """What `Player.stream` gives: chunks float32 [n, 2] in [-1, 1], each made when it is asked for.

    Any thread may take chunks or steer; one waits for the other.
    """

    def __init__(
        self,
        model: Model,
        seed: Seed,
        truncation: float,
        controls: Sequence[Control],
        n_samples: int | None,
        start_seconds: float,
        max_chunk_seconds: float | None,
    ):
        self._model, self._seed = model, seed
        self._config = config = model.config
        excerpt_n_samples = config.audio.excerpt_n_samples
        require_start(start_seconds)
        first = round(start_seconds * config.audio.sample_rate_hz)
        # An excerpt reaches into the next one, so that before the first is decoded too.
        self._excerpt = max(0, first // excerpt_n_samples - 1)
        self._n_dropped = first - self._excerpt * excerpt_n_samples
        self._n_left = math.inf if n_samples is None else n_samples
        self._excerpts_per_anchor = 2 * config.gan.seq_len // config.excerpt_n_latents
        self._chunk_n_excerpts = 1
        self._max_n_excerpts = self._most_excerpts(max_chunk_seconds)
        # There was no other course before the first.
        self._courses = [_Course(-(2**31), seed, truncation, tuple(controls))]
        # Steps, and their latents [1, n, stereo_latent_depth].
        self._window: tuple[range, tf.Tensor | None] = range(0), None
        self._overlap = tf.zeros([1, config.audio.overlap_size, N_CHANNELS])
        self._lock = threading.Lock()

    def _most_excerpts(self, max_chunk_seconds: float | None) -> int:
        audio = self._config.audio
        seconds = audio.excerpt_n_samples / audio.sample_rate_hz
        if max_chunk_seconds is None:
            return self._excerpts_per_anchor
        # Written so that NaN does not pass.
        if not seconds <= max_chunk_seconds:
            raise ValueError(
                f"max_chunk_seconds={max_chunk_seconds} must be at least {seconds:.3f}: an excerpt "
                "is decoded as a whole"
            )
        return int(min(max_chunk_seconds / seconds, self._excerpts_per_anchor))

    def steer(
        self,
        *,
        style_seed: Seed | None = None,
        truncation: float | None = None,
        controls: Sequence[Control] | None = None,
    ) -> None:
        """Changes what the piece follows, from the first sample on that was not handed out yet.

        Beats go on from where they are, at the new tempo. What stays None stays as it is.

        Args:
          style_seed: the style becomes that of the piece of this seed.
          truncation: above 0; anchors and style are drawn again within it.
          controls: one a signal of the model.

        Raises:
          ValueError: another number of controls than the model has signals.
        """
        with self._lock:
            now, step = self._courses[-1], self._next_excerpt * self._config.excerpt_n_latents
            if controls is not None:
                controls = controls_lib.going_on(
                    now.controls, controls, self._config, self._seed, step
                )
            changed = {"style_seed": style_seed, "truncation": truncation, "controls": controls}
            changed = {name: value for name, value in changed.items() if value is not None}
            self._courses.append(dataclasses.replace(now, step=step, **changed))
            self._window = range(0), None

    def __next__(self) -> np.ndarray:
        with self._lock:
            if self._n_left <= 0:
                raise StopIteration
            waveform = self._decode(self._next_n_excerpts())[self._n_dropped :]
            self._n_dropped = 0
            waveform = waveform[: int(min(self._n_left, len(waveform)))]
            self._n_left -= len(waveform)
            return waveform

    @property
    def _next_excerpt(self) -> int:
        """The one that holds the next sample to hand out."""
        return self._excerpt + self._n_dropped // self._config.audio.excerpt_n_samples

    def _next_n_excerpts(self) -> int:
        """A single one first, so that there is something to hear, then twice as many every time;
        no chunk goes beyond an anchor, and in the end they go from anchor to anchor."""
        size, per_anchor = self._chunk_n_excerpts, self._excerpts_per_anchor
        left = per_anchor - self._next_excerpt % per_anchor
        self._chunk_n_excerpts = min(2 * size, per_anchor)
        size = min(left if left < 2 * size else size, self._max_n_excerpts)
        return self._next_excerpt - self._excerpt + size

    def _decode(self, n_excerpts: int) -> np.ndarray:
        """The waveform of the next excerpts, [n, 2]."""
        n_latents = self._config.excerpt_n_latents
        steps = range(self._excerpt * n_latents, (self._excerpt + n_excerpts) * n_latents)
        waveform, self._overlap = self._model.decode(self._latents(steps), self._overlap)
        self._excerpt += n_excerpts
        return waveform.numpy()[0]

    def _latents(self, steps: range) -> tf.Tensor:
        """Latents [1, n, stereo_latent_depth] of steps, from the window that was made or a new."""
        made, latents = self._window
        if steps.start < made.start or steps.stop > made.stop:
            size = self._config.window_n_latents
            made = range(steps.start // size * size, -(-steps.stop // size) * size)
            latents = self._make(made)
            self._window = made, latents
        return latents[:, steps.start - made.start : steps.stop - made.start]

    def _make(self, window: range) -> tf.Tensor:
        context = self._config.gan.context_n_steps
        parts = list(self._covering(range(window.start - context, window.stop + context)))
        # Streams only go forward: what ended before will not be read again.
        self._courses = [course for course, _ in parts]
        inputs = [self._inputs(course, steps) for course, steps in parts]
        joined = {name: tf.concat([i[name] for i in inputs], axis=1) for name in inputs[0]}
        return self._model.latents(start=tf.constant([window.start]), **joined)

    def _covering(self, steps: range) -> Iterator[tuple[_Course, range]]:
        """The courses that steps follow, each with its own of them."""
        stops = [*(course.step for course in self._courses[1:]), steps.stop]
        for course, stop in zip(self._courses, stops, strict=True):
            own = range(max(steps.start, course.step), min(steps.stop, stop))
            if own:
                yield course, own

    def _inputs(self, course: _Course, steps: range) -> dict[str, tf.Tensor]:
        """What the generator is given along time, each [1, n, …]."""
        seeds = (tf.constant([seed], tf.int32) for seed in (self._seed, course.style_seed))
        truncation = tf.constant([course.truncation], tf.float32)
        window = tf.constant(steps.start), tf.constant(len(steps))
        line, style = _draw_window(self._config.gan, *seeds, *window, truncation)
        inputs = {"coordinates": line, "style": style}
        if course.controls or self._config.conditioning.signals:
            what = course.controls, self._config, self._seed
            values = controls_lib.values(*what, steps.start, len(steps))
            inputs["conditioning"] = tf.constant(values[np.newaxis])
        return inputs


def require_start(seconds: float) -> None:
    """Raises ValueError if no stream can begin there."""
    # Written so that NaN does not pass.
    if not 0.0 <= seconds <= MAX_START_SECONDS:
        raise ValueError(f"start_seconds={seconds} must be from 0 to {MAX_START_SECONDS:g}")


# Traced, because the draws are many small operations: 20 ms one by one, 1 ms together.
_draw_window = tf.function(coordinates.draw_window, reduce_retracing=True)
