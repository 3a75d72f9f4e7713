"""What is measured on held-out latents while the GAN is trained, and when it is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from musika_tf import statistics
from musika_tf.conditioning.units import to_model_units
from musika_tf.config import Config, GanConfig
from musika_tf.networks import critics
from musika_tf.networks import gan as gan_lib
from musika_tf.training import gan_draws, losses

# Shuffled music is cut into blocks of so many steps.
SHUFFLED_N_STEPS = 8
# So far windows are moved where they may start anywhere.
_SHIFT_N_STEPS = 4

# Stands where training has the step, which never is negative.
_HELD_OUT_DRAW = -1
# Whose conditioning is estimated.
_ESTIMATED = ("real", "fake")
# Whatever is smaller is nothing to divide by.
_LEAST = 1e-6


class Networks(NamedTuple):
    """Those that are looked at; without an estimator nothing is estimated."""

    generator: keras.Model
    discriminator: keras.Model
    estimator: keras.Model | None


# What the networks say


def outputs(
    config: Config,
    networks: Networks,
    seed: int,
    real: tf.Tensor,
    conditioning: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """What networks make of held-out latents, in a form for `gan`.

    Args:
      seed: of the lines and styles that are drawn.
      real: float32 [n, 2·seq_len, stereo_latent_depth], n static.
      conditioning: of a conditional system [n, 2·seq_len + 2·context_n_steps, n_signals] in user
        units.
    """
    sizes, number = config.gan, tf.constant(_HELD_OUT_DRAW, tf.int64)
    *drawn, start = gan_draws.windows(sizes, seed, number, real.shape[0], is_shared=False)

    def make(given: tf.Tensor | None, first: int = 0, n_steps: int = 2 * sizes.seq_len):
        """A part of the drawn windows, with its own context, made on its own."""
        end = first + n_steps + 2 * sizes.context_n_steps
        parts = (None if x is None else x[:, first:end] for x in (*drawn, given))
        return gan_lib.latents(config, networks.generator, *parts, start + first)

    fake, beside = make(conditioning), gan_lib.without_context(config, conditioning)
    found = {"fake": fake, "shifted": make(conditioning, shift_n_steps(sizes), sizes.seq_len)}
    real, fake = (critics.standardised(config, networks.generator, x) for x in (real, fake))
    shown = {"real": (real, beside), "fake": (fake, beside)}
    for name, change in (("spliced", spliced), ("shuffled", shuffled)):
        shown[name] = (change(real), None if beside is None else change(beside))
    if conditioning is not None:
        others = _of_others(conditioning)
        shown["mismatched"] = (real, gan_lib.without_context(config, others))
        found["fake_of_others"] = make(others)
        if networks.estimator:
            found |= {f"{name}_estimate": networks.estimator(shown[name][0]) for name in _ESTIMATED}
    for name, (latents, given) in shown.items():
        logits, _ = critics.judged(networks.discriminator, latents, given)
        found[f"{name}_logits"] = losses.mean_logit(logits)
    return found


def _of_others(x: tf.Tensor) -> tf.Tensor:
    """Each row's is that of an example far away: neighbours may come from one piece."""
    return tf.roll(x, max(1, x.shape[0] // 2), axis=0)


def spliced(x: tf.Tensor) -> tf.Tensor:
    """The first half of each example [n, T, …], and then the second half of one far away."""
    middle = x.shape[1] // 2
    return tf.concat([x[:, :middle], _of_others(x)[:, middle:]], axis=1)


def shuffled(x: tf.Tensor) -> tf.Tensor:
    """Examples [n, T, …] whose blocks of `SHUFFLED_N_STEPS` steps lie in another order.

    It is the same one for all and always; steps that fill no block stay at the end.
    """
    n_blocks = x.shape[1] // SHUFFLED_N_STEPS
    order, steps = np.random.default_rng(0).permutation(n_blocks), np.arange(x.shape[1])
    blocks = steps[: n_blocks * SHUFFLED_N_STEPS].reshape(n_blocks, SHUFFLED_N_STEPS)
    rest = steps[n_blocks * SHUFFLED_N_STEPS :]
    return tf.gather(x, np.concatenate([blocks[order].ravel(), rest]), axis=1)


def shift_n_steps(sizes: GanConfig) -> int:
    """How far along the line `outputs` moves windows: to the next step where they may start."""
    return _SHIFT_N_STEPS if sizes.normalisation == "patch" else sizes.coarsest_n_steps


# Metrics


def gan(
    config: Config,
    outputs: Mapping[str, np.ndarray],
    held_out: np.ndarray,
    conditioning: np.ndarray | None = None,
) -> dict[str, float]:
    """Generated latents against held-out ones.

    Args:
      outputs: of the function of this name.
      held_out, conditioning: what it was given.

    Returns:
      held_out/window_frechet: Fréchet distance of windows of a second, see
        `statistics.window_frechet`; lower is better.
      held_out/frechet: Fréchet distance of the latents' means and covariances, a time step a draw,
        which does not see time.
      held_out/spread_ratio_min, …_max: standard deviation of generated over held-out latents, of
        the channel where it is least and where it is greatest; 1 is perfect.
      held_out/change_ratio: mean change from step to step, generated over held-out.
      held_out/seam_ratio: change where two patches meet over change elsewhere; 1: no seam.
      held_out/shift_ratio: see `shift_ratio`.
      held_out/real_logit, held_out/fake_logit: beside the training's own they tell whether the
        discriminator knows its examples by heart.
      held_out/spliced_logit, held_out/shuffled_logit: of real music with an end of other music, or
        with its blocks in another order; those of a discriminator that sees time lie well below
        held_out/real_logit. Conditioning, if any, moves with the music.

      Of a conditional system also:
      held_out/mismatched_logit: below held_out/real_logit: the discriminator sees whether latents
        belong to their conditioning.
      held_out/conditioning_ratio: mean change of the generated latents, with the conditioning of
        others, over their standard deviation; 0: the generator does not listen.
      held_out/real_SIGNAL_error, held_out/fake_SIGNAL_error: mean distance, in model units, between
        a signal and what the estimator reads of it in held-out and in generated latents.
    """
    real, fake = held_out.astype(np.float64), outputs["fake"].astype(np.float64)
    n_steps = min(config.second_n_latents, real.shape[1])
    metrics = {
        "window_frechet": statistics.window_frechet(real, fake, n_steps),
        "frechet": statistics.frechet_distance(real, fake),
        **_movement(real, fake),
        "shift_ratio": shift_ratio(fake, outputs["shifted"], shift_n_steps(config.gan)),
    }
    for name in outputs:
        if name.endswith("_logits"):
            metrics[name.removesuffix("s")] = outputs[name].mean()
    if conditioning is not None:
        change = np.abs(outputs["fake_of_others"] - fake).mean()
        metrics["conditioning_ratio"] = change / max(fake.std(), _LEAST)
        beside = gan_lib.without_context(config, conditioning)
        signals = config.conditioning.signals
        wanted, sizes = to_model_units(beside, signals), [s.n_features for s in signals]
        for name in _ESTIMATED:
            if f"{name}_estimate" in outputs:
                errors = np.abs(outputs[f"{name}_estimate"] - wanted).mean(axis=(0, 1))
                parts = np.split(errors, np.cumsum(sizes)[:-1])
                for signal, part in zip(signals, parts, strict=True):
                    metrics[f"{name}_{signal.name}_error"] = part.mean()
    return {f"held_out/{name}": float(value) for name, value in metrics.items()}


def _movement(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """How far latents spread and change."""
    spread_ratio = fake.std(axis=(0, 1)) / np.maximum(real.std(axis=(0, 1)), _LEAST)
    real_changes, fake_changes = (np.abs(np.diff(x, axis=1)) for x in (real, fake))
    seam = fake.shape[1] // 2 - 1
    return {
        "spread_ratio_min": spread_ratio.min(),
        "spread_ratio_max": spread_ratio.max(),
        "change_ratio": fake_changes.mean() / max(real_changes.mean(), _LEAST),
        "seam_ratio": fake_changes[:, seam].mean() / max(fake_changes.mean(), _LEAST),
    }


def shift_ratio(latents: np.ndarray, shifted: np.ndarray, n_steps: int) -> float:
    """Does music move with its coordinates?

    Args:
      latents: [n, T, depth] of a window.
      shifted: [n, T' ≤ T, depth] of the window of the same lines that starts `n_steps` later.
      n_steps: below T'.

    Returns:
      Mean difference from the latents at the same places of the lines, over that from the latents
      at the same places of the window. 0: the music moves; 1 or more: it stays where it was.
    """
    length = shifted.shape[1]
    moved = np.abs(shifted[:, : length - n_steps] - latents[:, n_steps:length]).mean()
    left = np.abs(shifted - latents[:, :length]).mean()
    return float(moved / max(left, _LEAST))
