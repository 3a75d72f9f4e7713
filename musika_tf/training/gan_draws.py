"""What a step of the latent GAN draws: functions of the training's seed and the step's number."""

from __future__ import annotations

import tensorflow as tf

from musika_tf.config import GanConfig
from musika_tf.networks import coordinates
from musika_tf.training import devices

_ALG = "philox"


def windows(
    sizes: GanConfig, seed: int, number: tf.Tensor, batch_size: int, is_shared: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where on which lines, and in which style, a generator is to make latents.

    Args:
      number: of the draw, int64.
      batch_size: B.
      is_shared: B is a replica's part of a batch that is drawn for all replicas together.

    Returns:
      Coordinates and style [B, 2·seq_len + 2·context_n_steps, …], and int32 [B]: where each window
      starts.
    """
    seeds = _seeds(seed, number)
    n = batch_size * (devices.n_replicas() if is_shared else 1)
    shape, starts = [n, coordinates.N_TRAINING_ANCHORS], coordinates.training_starts(sizes)
    anchors = tf.random.stateless_normal([*shape, sizes.anchor_depth], seeds[0], alg=_ALG)
    style = tf.random.stateless_normal([n, sizes.style_depth], seeds[1], alg=_ALG)
    index = tf.random.stateless_uniform([n], seeds[2], 0, len(starts), tf.int32, alg=_ALG)
    start = starts.step * index
    if is_shared:
        anchors, style, start = map(devices.replica_rows, (anchors, style, start))
    lines = coordinates.training_windows(sizes, anchors, start)
    return lines, tf.repeat(style[:, tf.newaxis], lines.shape[1], axis=1), start


def exchanged(latents: tf.Tensor, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Real latents [B, T, 2·C], a replica's part of the batch of a step, with left and right
    exchanged in half of the examples: music has no side."""
    n = latents.shape[0] * devices.n_replicas()
    draws = tf.random.stateless_uniform([n, 1, 1], _seeds(seed, number)[3], alg=_ALG)
    left, right = tf.split(latents, 2, axis=-1)
    other = tf.concat([right, left], axis=-1)
    return tf.where(devices.replica_rows(draws) < 0.5, other, latents)


def spliced(latents: tf.Tensor, seed: int, number: tf.Tensor) -> tf.Tensor:
    """Examples that go on as another one from some step on: no music, though every part is.

    Args:
      latents: [B, T, C], a replica's part of the batch of a step, B at least 2.
    """
    n, n_steps = latents.shape[0] * devices.n_replicas(), latents.shape[1]
    bounds = n_steps // 4, n_steps - n_steps // 4
    cuts = tf.random.stateless_uniform(
        [n, 1, 1], _seeds(seed, number)[4], *bounds, tf.int32, alg=_ALG
    )
    is_before = tf.range(n_steps)[:, tf.newaxis] < devices.replica_rows(cuts)
    return tf.where(is_before, latents, tf.roll(latents, 1, axis=0))


def _seeds(seed: int, number: tf.Tensor) -> list[tf.Tensor]:
    """Of anchors, style, window, exchange and splices."""
    both = tf.stack([tf.constant(seed, tf.int64), tf.cast(number, tf.int64)])
    return tf.unstack(tf.random.split(both, 5, alg=_ALG))
