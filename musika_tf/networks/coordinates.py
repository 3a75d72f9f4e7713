"""The latent coordinate system: seed → anchors, style → coordinates (paper §3.2, figure 2).

Pure functions, traceable with static or dynamic sizes, and under XLA.

With s = seq_len, an anchor stands at every multiple of 2·s and coordinates lie on the straight
line between neighbours. A piece is an endless line of steps that begins at step 0; what makes music
of it takes windows [start, start + n) of it.

    step      -2s       -s        0         s         2s        3s        4s        5s        6s
    anchors   w_0 ──────────────── w_1 ─────────────── w_2 ─────────────── w_3 ─────────────── w_4
    training            ┄┄┄┄┄┄┄┄┄┄├───────────────────┤┄┄┄┄┄┄┄┄┄┄
                        or        ┄┄┄┄┄┄┄┄┄┄├───────────────────┤┄┄┄┄┄┄┄┄┄┄
    inference             ┄┄┄┄┄┄┄┄┄┄├────┤┄┄┄┄┄┄┄┄┄┄        any whole number of coarsest steps

Dotted is the context that a generator reads beside its window. One that is normalised over patches
reads none, is trained on windows that start anywhere, and makes whole patches of s steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from musika_tf.config import GanConfig

# Normal draws practically never lie further out than 5; beyond this float32 has no such numbers.
MAX_TRUNCATION = 10.0

# Anchors around a training window and its context.
N_TRAINING_ANCHORS = 5

# Waves of the position features in the 2·seq_len steps between two anchors, up to seq_len of them.
_N_WAVES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def line(
    sizes: GanConfig, anchors: tf.Tensor, start: int | tf.Tensor, n_steps: int | tf.Tensor
) -> tf.Tensor:
    """Coordinates of a window; beyond the ends the first and the last anchor are held.

    Args:
      anchors: [B, A, D], A ≥ 2; the first one stands at step 0.
      start: int32, one step for all rows or [B].

    Returns:
      [B, n_steps, D].
    """
    interval, last = 2 * sizes.seq_len, tf.shape(anchors)[1] - 1
    starts = tf.broadcast_to(start, tf.shape(anchors)[:1])
    steps = starts[:, tf.newaxis] + tf.range(n_steps)
    steps = tf.clip_by_value(steps, 0, last * interval)
    index = tf.minimum(steps // interval, last - 1)
    # Position between two anchors, 0 on the left one.
    k = tf.cast(steps - index * interval, anchors.dtype)[..., tf.newaxis] / interval
    left, right = (tf.gather(anchors, index + i, axis=1, batch_dims=1) for i in (0, 1))
    return (1.0 - k) * left + k * right


def training_starts(sizes: GanConfig) -> range:
    """Where training windows may start between two anchors: at patches, or anywhere."""
    step = 1 if sizes.normalisation == "patch" else sizes.seq_len
    return range(0, 2 * sizes.seq_len, step)


def training_windows(sizes: GanConfig, anchors: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Coordinates of windows of two patches with their context on both sides.

    Args:
      anchors: [B, N_TRAINING_ANCHORS, D]; the second one stands at step 0.
      start: int32 [B], one of `training_starts`.

    Returns:
      [B, 2·seq_len + 2·context_n_steps, D].
    """
    first = start + 2 * sizes.seq_len - sizes.context_n_steps
    return line(sizes, anchors, first, 2 * sizes.seq_len + 2 * sizes.context_n_steps)


def n_position_features(seq_len: int) -> int:
    """Columns of `position_features`."""
    return 2 * sum(n_waves <= seq_len for n_waves in _N_WAVES)


def position_features(step: tf.Tensor, seq_len: int) -> tf.Tensor:
    """Where between two anchors, 2·seq_len apart, steps lie: sines and cosines of some waves there.

    They repeat with every anchor, so that nothing jumps where patches meet.

    int32 [...], any → float32 [..., n_position_features(seq_len)] in [-1, 1].
    """
    interval = 2 * seq_len
    n_waves = tf.constant([n for n in _N_WAVES if n <= seq_len])
    # Whole numbers first: as exact after hours as at the beginning.
    turns = tf.math.floormod(step, interval)[..., tf.newaxis] * n_waves % interval
    angles = tf.cast(turns, tf.float32) * (2.0 * math.pi / interval)
    return tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)


def truncated_normal(
    seed: tf.Tensor, shape: Sequence[int] | tf.Tensor, truncation: tf.Tensor
) -> tf.Tensor:
    """Standard normal draws cut at ±truncation, each row from its own seed.

    The inverse of the cut normal's distribution function, taken at stateless uniform draws. Row i
    depends on its seed and truncation only, not on the batch around it, and a longer shape begins
    with what a shorter one holds: a piece made longer keeps its beginning. XLA draws other numbers
    than TensorFlow's own kernels, from the same distribution.

    Args:
      seed: int32 [B, 2].
      shape: of one row.
      truncation: float32 [B], > 0. Small values give almost uniform draws.

    Returns:
      float32 [B, *shape] in [-truncation, truncation].
    """
    uniform = tf.map_fn(
        lambda row_seed: tf.random.stateless_uniform(shape, row_seed, alg="philox"),
        seed,
        fn_output_signature=tf.float32,
    )
    # One truncation a row, against all dimensions of the row.
    ones = tf.ones([tf.size(shape)], tf.int32)
    limit = tf.reshape(truncation, tf.concat([tf.shape(truncation), ones], axis=0))
    below = 0.5 * tf.math.erfc(limit * 0.5**0.5)  # Φ(-truncation)
    drawn = tf.math.ndtri(below + uniform * (1.0 - 2.0 * below))
    # Rounding may reach Φ⁻¹(0) = -∞ where the cut is far out.
    return tf.clip_by_value(drawn, -limit, limit)


def require_truncation(truncation: float, name: str = "truncation") -> None:
    """Raises ValueError if nothing can be drawn with it; `name` is what people call it."""
    # Written so that NaN does not pass.
    if not 0.0 < truncation <= MAX_TRUNCATION:
        raise ValueError(
            f"{name}={truncation} must be above 0 and at most {MAX_TRUNCATION:g}: 2 is usual, "
            "smaller is more stable"
        )


def draw_style(seed: tf.Tensor, depth: int, truncation: tf.Tensor) -> tf.Tensor:
    """The style float32 [B, depth] of each row: draw 0 of its seed, int32 [B, 2], cut at its
    truncation, float32 [B], above 0."""
    return _draws(seed, 0, 1, depth, truncation)[:, 0]


def draw_anchors(
    seed: tf.Tensor, start: int | tf.Tensor, n_anchors: int | tf.Tensor, depth: int, truncation
) -> tf.Tensor:
    """Anchors start … start + n_anchors - 1 of each row, float32 [B, n_anchors, depth].

    Each is a function of the seed, int32 [B, 2], its index from 0, and the truncation, float32 [B],
    above 0.
    """
    return _draws(seed, 1 + start, n_anchors, depth, truncation)


def draw_line(
    sizes: GanConfig,
    seed: tf.Tensor,
    start: int | tf.Tensor,
    n_steps: int | tf.Tensor,
    truncation: tf.Tensor,
) -> tf.Tensor:
    """A window on the line of the piece of each row.

    Args:
      seed: int32 [B, 2].
      start: first step, at least -context_n_steps.
      truncation: float32 [B], above 0.

    Returns:
      Coordinates float32 [B, n_steps, anchor_depth].
    """
    interval = 2 * sizes.seq_len
    first = start // interval
    n_anchors = (start + n_steps - 1) // interval - first + 2
    # Draws have no negative index: what lies before a piece is the first of them.
    index = first if sizes.normalisation == "patch" else first + 1
    anchors = draw_anchors(seed, index, n_anchors, sizes.anchor_depth, truncation)
    return line(sizes, anchors, start - first * interval, n_steps)


def draw_window(
    sizes: GanConfig,
    seed: tf.Tensor,
    style_seed: tf.Tensor,
    start: int | tf.Tensor,
    n_steps: int | tf.Tensor,
    truncation: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The coordinates of `draw_line`, and beside each of them the style of `style_seed`, int32
    [B, 2]: float32 [B, n_steps, anchor_depth] and [B, n_steps, style_depth]."""
    line = draw_line(sizes, seed, start, n_steps, truncation)
    style = draw_style(style_seed, sizes.style_depth, truncation)
    return line, tf.repeat(style[:, tf.newaxis], n_steps, axis=1)


def _draws(seed, start, n_draws, depth: int, truncation: tf.Tensor) -> tf.Tensor:
    """Draws start … start + n_draws - 1 of the sequence that belongs to each seed."""
    # One number a row that both halves of its seed go into, and the index beside it.
    keys = tf.map_fn(
        lambda row: tf.random.stateless_uniform([], row, None, None, tf.int32, alg="philox"), seed
    )
    keys, indices = tf.meshgrid(keys, start + tf.range(n_draws), indexing="ij")
    seeds = tf.reshape(tf.stack([keys, indices], axis=-1), [-1, 2])  # [B·n_draws, 2]
    drawn = truncated_normal(seeds, [depth], tf.repeat(truncation, n_draws))
    return tf.reshape(drawn, [-1, n_draws, depth])
