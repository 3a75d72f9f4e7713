"""How a system is trained; of no interest to what plays it. No TensorFlow here."""

from __future__ import annotations

import dataclasses

from musika_tf.sections import require, require_positive

# Number formats in which networks can be trained.
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a system is trained (paper §4.1, §4.2); may differ from run to run."""

    # Pairs of adjacent excerpts (autoencoder) or latent sequences (GAN) a step.
    batch_size: int = 32
    # Steps of each phase of the level-1 autoencoder.
    level1_n_steps: int = 1_000_000
    # Steps of each phase of the level-2 autoencoder.
    level2_n_steps: int = 400_000
    # Steps of the latent GAN.
    gan_n_steps: int = 1_500_000
    # Learning rate of Adam, all stages.
    learning_rate: float = 1e-4
    # Share of it at the end of a stage: half a cosine leads there; 1 keeps it constant.
    final_learning_rate_share: float = 0.05
    # First-moment decay of Adam.
    adam_beta_1: float = 0.5
    # Weights of the L1 distance of the waveforms' log magnitudes and of the multi-scale spectral
    # distance in phase 2. The paper has 1 and 4 (§4.1): with those a decoder does not heed its
    # discriminator within some thousand steps, and what latents do not hold stays blurred.
    reconstruction_weight: float = 0.5
    multi_scale_weight: float = 0.2
    # Share of the steps of phase 2 that pass before the discriminator comes in.
    adversarial_start_share: float = 0.6
    # Steps from one that trains and heeds the discriminator to the next.
    adversarial_period: int = 1
    # Weight of spliced real music among what the discriminator of the latent GAN shall tell from
    # real music; generated music counts 1.
    spliced_weight: float = 0.5
    # γ of the R1 gradient penalty ½·γ·E‖∇D̄‖² of the latent GAN, D̄ the mean logit.
    r1_gamma: float = 1280.0
    # Steps from one with the penalty to the next; it counts so many times as much there.
    r1_period: int = 4
    # Share of γ to which it may fall while the discriminator is unsure; 1 keeps it constant.
    r1_gamma_least_share: float = 0.05
    # Weight of the distance between a generator's conditioning and what the estimator reads in its
    # latents.
    conditioning_weight: float = 4.0
    # Decay of the moving averages of the generator's weights and, in phase 2, of the decoder's.
    average_decay: float = 0.999
    # Everything random in a training follows from this number and the step.
    seed: int = 0
    # Number format inside the networks: float32, bfloat16 or float16.
    precision: str = "float32"

    def __post_init__(self):
        n_steps = ("level1_n_steps", "level2_n_steps", "gan_n_steps")
        require_positive(self, "batch_size", *n_steps, "learning_rate")
        require_positive(self, "adversarial_period", "r1_period")
        shares = ("final_learning_rate_share", "adversarial_start_share")
        require(self, "be 0 to 1", lambda value: 0 <= value <= 1, *shares)
        at_most_1 = "be above 0 and at most 1"
        require(self, at_most_1, lambda value: 0 < value <= 1, "r1_gamma_least_share")
        decays = ("adam_beta_1", "average_decay")
        require(self, "be at least 0 and below 1", lambda value: 0 <= value < 1, *decays)
        terms = ("reconstruction", "multi_scale", "spliced", "conditioning")
        at_least_0 = (*(f"{term}_weight" for term in terms), "r1_gamma", "seed")
        require(self, "not be negative", lambda value: value >= 0, *at_least_0)
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r} must be one of {', '.join(PRECISIONS)}")

    def n_steps_of(self, stage: str) -> int:
        """Length of a stage: level1_phase1, level1_phase2, level2_phase1, level2_phase2 or gan."""
        return getattr(self, f"{stage.partition('_')[0]}_n_steps")
