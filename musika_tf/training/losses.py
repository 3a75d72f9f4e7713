"""Training objectives: pure functions, each with its equation."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from musika_tf import spectral

# Adversarial


def hinge_discriminator_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """L_D = -E[min(0, -1 + D(s))] - E[min(0, -1 - D(s̃))] (paper §3.1.2), of logits of any shapes,
    averaged over all elements."""
    real = tf.reduce_mean(tf.nn.relu(1.0 - real_logits))
    return real + hinge_of_negatives([fake_logits])


def hinge_of_parts(real: Sequence[tf.Tensor], fake: Sequence[tf.Tensor]) -> tf.Tensor:
    """The discriminator's hinge loss of each kind of logits, averaged with equal weight."""
    return tf.add_n(list(map(hinge_discriminator_loss, real, fake))) / len(real)


def hinge_of_negatives(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """The discriminator's hinge loss of what is not real, of each kind of logits, averaged."""
    return tf.add_n([tf.reduce_mean(tf.nn.relu(1.0 + logits)) for logits in parts]) / len(parts)


def hinge_generator_loss(fake_logits: tf.Tensor) -> tf.Tensor:
    """L_adv = -E[D(s̃)] (paper §3.1.2)."""
    return -tf.reduce_mean(fake_logits)


# Spectral


def l1(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference (L_rec, paper §3.1.1)."""
    return tf.reduce_mean(tf.abs(a - b))


def audible_l1(target: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of scaled log magnitudes, weighted by what can be heard.

    Most bins of quiet or tonal music lie on the floor, 92 dB under a full-scale sine. Where both
    magnitudes do, their difference counts a tenth, rising to all of it 17 dB above the floor.

    Args:
      target, decoded: scaled log magnitudes, floored at -1, of any shape.
    """
    above_floor = tf.stop_gradient(tf.maximum(target, decoded)) + 1.0
    weights = 0.1 + 0.9 * tf.clip_by_value(above_floor / 0.4, 0.0, 1.0)
    return tf.reduce_mean(weights * tf.abs(target - decoded))


def multi_scale_spectral_distance(
    real: tf.Tensor, fake: tf.Tensor, hop_sizes: Sequence[int]
) -> tf.Tensor:
    """L_ms = E Σ_hop log ‖ |STFT_hop(w)| - |STFT_hop(w̃)| ‖₁ with windows of 4 hops (paper §3.1.2).

    The norm is taken as a mean instead of a sum: that shifts the metric by a constant and makes it
    independent of the excerpt's length.

    Args:
      real, fake: float32 [batch, n_samples].
      hop_sizes: in samples.

    Returns:
      A scalar; lower is better, and about -46 (four times ln 1e-5) is a perfect match.
    """
    total = 0.0
    for hop_size in hop_sizes:
        difference = spectral.magnitude(spectral.stft(real, 4 * hop_size, hop_size))
        difference -= spectral.magnitude(spectral.stft(fake, 4 * hop_size, hop_size))
        distance = tf.reduce_mean(tf.abs(difference), axis=(1, 2))
        total += tf.reduce_mean(tf.math.log(distance + 1e-5))
    return total


# Latent GAN


def mean_logit(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """D̄ [batch] of each example: the mean of its kinds of logits, each the mean of its own.

    Args:
      parts: logits [batch, n] each: local ones, and the one that sees all steps.
    """
    return tf.add_n([tf.reduce_mean(logits, axis=1) for logits in parts]) / len(parts)


def r1_penalty(gradients: tf.Tensor) -> tf.Tensor:
    """R1 = ½ E ‖∇D̄(x)‖² on real x (Mescheder et al. 2018, eq. 9; paper §4.2).

    Args:
      gradients: [batch, …] of the mean logits, summed over the batch, with respect to each real
        example.
    """
    squares = tf.square(tf.cast(gradients, tf.float32))
    return 0.5 * tf.reduce_mean(tf.reduce_sum(squares, axis=list(range(1, len(squares.shape)))))
