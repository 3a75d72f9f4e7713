"""What is measured on held-out latents while the GAN is trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from musika_tf import statistics


def gan(
    held_out: np.ndarray, outputs: Mapping[str, np.ndarray], wanted: np.ndarray | None
) -> dict[str, float]:
    """Generated latents against held-out ones, both [n, 2·seq_len, depth].

    Args:
      held_out: real latents.
      outputs: `fake` and logits of both; of a conditional system also `fake_of_others` and
        `mismatched_logits`, with the conditioning of one example given to another, and estimates
        of the conditioning of both.
      wanted: conditioning in model units, [n, 2·seq_len, n_features]; None: unconditional.

    Returns:
      held_out/frechet: Fréchet distance of the latents' means and covariances, a time step a draw;
        lower is better.
      held_out/spread_ratio_min, …_max: standard deviation of generated over held-out latents, of
        the channel where it is least and where it is greatest; 1 is perfect.
      held_out/change_ratio: mean change from step to step, generated over held-out.
      held_out/seam_ratio: change where two patches meet over change elsewhere; 1: no seam.
      held_out/real_logit, held_out/fake_logit: beside the training's own they tell whether the
        discriminator knows its examples by heart.

      Of a conditional system also:
      held_out/mismatched_logit: below held_out/real_logit: the discriminator sees whether latents
        belong to their conditioning.
      held_out/conditioning_ratio: mean change of the generated latents, with the conditioning of
        others, over their standard deviation; 0: the generator does not listen.
      held_out/real_conditioning_error, held_out/fake_conditioning_error: mean distance between the
        conditioning and what the estimator reads in held-out and in generated latents.
    """
    real, fake = held_out.astype(np.float64), outputs["fake"].astype(np.float64)
    spread_ratio = fake.std(axis=(0, 1)) / np.maximum(real.std(axis=(0, 1)), 1e-6)
    real_changes, fake_changes = (np.abs(np.diff(x, axis=1)) for x in (real, fake))
    seam = fake.shape[1] // 2 - 1
    metrics = {
        "frechet": statistics.frechet_distance(real, fake),
        "spread_ratio_min": spread_ratio.min(),
        "spread_ratio_max": spread_ratio.max(),
        "change_ratio": fake_changes.mean() / max(real_changes.mean(), 1e-6),
        "seam_ratio": fake_changes[:, seam].mean() / max(fake_changes.mean(), 1e-6),
        "real_logit": outputs["real_logits"].mean(),
        "fake_logit": outputs["fake_logits"].mean(),
    }
    if wanted is not None:
        change = np.abs(outputs["fake_of_others"] - fake).mean()
        metrics["conditioning_ratio"] = change / max(fake.std(), 1e-6)
        metrics["mismatched_logit"] = outputs["mismatched_logits"].mean()
        for name in ("real", "fake"):
            error = np.abs(outputs[f"{name}_estimate"] - wanted).mean()
            metrics[f"{name}_conditioning_error"] = error
    return {f"held_out/{name}": float(value) for name, value in metrics.items()}
