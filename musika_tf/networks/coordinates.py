"""The latent coordinate system: seed → anchors, style → coordinates (paper §3.2, figure 2).

Pure functions, traceable with static or dynamic batch and number of anchors, and under XLA.

With s = seq_len, an anchor stands at every multiple of 2·s and coordinates lie on the straight
line between neighbours. A patch is what the generator makes in one call: s coordinates.

    step        0         s        2s        3s        4s
    anchors     w_l ─────────────── w_c ─────────────── w_r        4·s + 1 coordinates
    training         ├── w_1 ──┼── w_2 ──┤                         any 2·s neighbours, halved
    inference   ├─ p 0 ──┼─ p 1 ──┼─ p 2 ──┼─ p 3 ──┤              the last anchor is left out:
                                                                   it begins patch 4
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from musika_tf.config import GanConfig

# Normal draws practically never lie further out than 5; beyond this float32 has no such numbers.
MAX_TRUNCATION = 10.0


def interpolate(anchors: tf.Tensor, steps_between: int) -> tf.Tensor:
    """Coordinates from the first anchor to the last, both included.

    Args:
      anchors: [B, A, D].
      steps_between: steps from one anchor to the next.

    Returns:
      [B, (A-1)·steps_between + 1, D].
    """
    return tf.concat([_up_to_last_anchor(anchors, steps_between), anchors[:, -1:]], axis=1)


def _up_to_last_anchor(anchors: tf.Tensor, steps_between: int) -> tf.Tensor:
    shape = tf.shape(anchors)
    # Position between two anchors, 0 included and 1 not: that is the next anchor.
    k = tf.range(steps_between, dtype=anchors.dtype)[:, tf.newaxis] / steps_between
    left, right = anchors[:, :-1, tf.newaxis], anchors[:, 1:, tf.newaxis]
    between = (1.0 - k) * left + k * right  # [B, A-1, steps_between, D]
    return tf.reshape(between, [shape[0], (shape[1] - 1) * steps_between, anchors.shape[-1]])


def n_crop_starts(seq_len: int) -> int:
    """How many crops of 2·seq_len fit in 4·seq_len + 1 coordinates: starts 0 … 2·seq_len + 1."""
    return 2 * seq_len + 2


def training_coordinates(
    anchors: tf.Tensor, crop_start: tf.Tensor, seq_len: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Coordinates of two adjacent patches, cropped anywhere between three anchors.

    Args:
      anchors: [B, 3, D]: left, centre, right.
      crop_start: int32 [B], from 0 to below `n_crop_starts(seq_len)`.
      seq_len: coordinates of one patch.

    Returns:
      w_1 and w_2, each [B, seq_len, D]; the first step of w_2 follows the last of w_1.
    """
    line = interpolate(anchors, 2 * seq_len)
    steps = crop_start[:, tf.newaxis] + tf.range(2 * seq_len, dtype=crop_start.dtype)
    crop = tf.gather(line, steps, axis=1, batch_dims=1)
    return crop[:, :seq_len], crop[:, seq_len:]


def patches(anchors: tf.Tensor, seq_len: int) -> tf.Tensor:
    """Coordinates of all patches between the anchors, in order of time.

    Args:
      anchors: [B, A, D], A ≥ 2.
      seq_len: coordinates of one patch.

    Returns:
      [B, (A-1)·2, seq_len, D]; patches 2·i and 2·i + 1 depend on anchors i and i + 1 only.
    """
    line = _up_to_last_anchor(anchors, 2 * seq_len)
    shape = tf.shape(anchors)
    return tf.reshape(line, [shape[0], (shape[1] - 1) * 2, seq_len, anchors.shape[-1]])


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
    limit = tf.reshape(truncation, tf.concat([tf.shape(truncation), _ones_like(shape)], axis=0))
    below = 0.5 * tf.math.erfc(limit * 0.5**0.5)  # Φ(-truncation)
    drawn = tf.math.ndtri(below + uniform * (1.0 - 2.0 * below))
    # Rounding may reach Φ⁻¹(0) = -∞ where the cut is far out.
    return tf.clip_by_value(drawn, -limit, limit)


def _ones_like(shape: Sequence[int] | tf.Tensor) -> tf.Tensor:
    return tf.ones([tf.size(shape)], tf.int32)


def draw_style(seed: tf.Tensor, depth: int, truncation: tf.Tensor) -> tf.Tensor:
    """The style of each row: draw 0 of its seed.

    Args:
      seed: int32 [B, 2].
      depth: of a style vector.
      truncation: float32 [B], above 0.

    Returns:
      float32 [B, depth].
    """
    return _draws(seed, 0, 1, depth, truncation)[:, 0]


def draw_anchors(
    seed: tf.Tensor, start: int | tf.Tensor, n_anchors: int | tf.Tensor, depth: int, truncation
) -> tf.Tensor:
    """Anchors start … start + n_anchors - 1 of each row; each is a function of seed and index.

    Args:
      seed: int32 [B, 2].
      start: index of the first one, from 0.
      n_anchors: how many.
      depth: of an anchor.
      truncation: float32 [B], above 0.

    Returns:
      float32 [B, n_anchors, depth].
    """
    return _draws(seed, 1 + start, n_anchors, depth, truncation)


def draw_patches(
    sizes: GanConfig,
    seed: tf.Tensor,
    start: int | tf.Tensor,
    n_anchors: int | tf.Tensor,
    truncation: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The piece of each row between anchors start and start + n_anchors - 1.

    Args:
      sizes: of the system.
      seed: int32 [B, 2].
      start: index of the first anchor, from 0.
      n_anchors: at least 2.
      truncation: float32 [B], above 0.

    Returns:
      Coordinates of its patches, float32 [B, (n_anchors-1)·2, seq_len, anchor_depth], and its
      style, float32 [B, style_depth].
    """
    anchors = draw_anchors(seed, start, n_anchors, sizes.anchor_depth, truncation)
    style = draw_style(seed, sizes.style_depth, truncation)
    return patches(anchors, sizes.seq_len), style


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
