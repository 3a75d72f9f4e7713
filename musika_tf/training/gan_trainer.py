"""Training of the latent GAN, conditional or not (paper §3.2, §4.2, §5)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from musika_tf.conditioning.units import feature_weights, to_model_units
from musika_tf.config import Config
from musika_tf.networks import coordinates, critics, gan, precision
from musika_tf.training import gan_draws, losses, validation
from musika_tf.training.r1_control import R1Control
from musika_tf.training.trainer import Gradients, Samples, Trainer, won_diagnosis
from musika_tf.training_config import TrainingConfig

# Pieces to listen to, and the defaults by which `musika-generate` draws.
_N_SAMPLE_PIECES = 2
_SAMPLE_SEED = 0
_SAMPLE_TRUNCATION = 2.0


class GanTrainer(Trainer):
    """Trains generator and discriminator, and keeps the moving average of the generator.

    Both networks are updated at once from one forward pass of each: the discriminator with the
    hinge loss of its local logits and of the one that sees all steps, its reconstruction of real
    latents, real music that was spliced, and, every few steps, R1; the generator with the
    adversarial loss. A conditional generator also learns from an estimator, trained beside them on
    real latents, how far its latents are from its conditioning. Anchors, style and window of a
    step, and which real examples have left and right exchanged, follow from the seed and the step's
    number.

    A conditional generator is given the conditioning of the real latents of the batch, with the
    context that it reads on both sides; the discriminator sees the same beside real latents and
    beside fakes.

    An example is 2·seq_len latents: from an anchor, or halfway, to the next.

    Args:
      held_out: float32 [n, 2·seq_len, stereo_latent_depth]: real latents that are never trained
        on; None: `validate` has nothing to tell.
      held_out_conditioning: of a conditional system, float32
        [n, 2·seq_len + 2·context_n_steps, n_signals] in user units: what belongs to `held_out` and
        to the context on both sides, and what the pieces of `sample` are given.
      decode: latents [1, n, stereo_latent_depth] → waveform [1, n_samples, 2]; None: `sample` has
        nothing to play.

    Raises:
      ValueError: held_out or its conditioning has another shape, or one of a conditional system is
        missing.
    """

    best_metric = "held_out/window_frechet"

    def __init__(
        self,
        *,
        config: Config,
        training: TrainingConfig,
        held_out: np.ndarray | None,
        held_out_conditioning: np.ndarray | None = None,
        decode: Callable[[tf.Tensor], tf.Tensor] | None = None,
        n_steps: int | None = None,
    ):
        super().__init__(training, n_steps)
        self.config = config
        with precision.networks_of(training.precision):
            self.generator = gan.build_generator(config)
            self.generator_average = gan.build_generator(config, name="generator_average")
            self.discriminator = critics.build_discriminator(config)
            self.estimator = (
                critics.build_estimator(config) if config.conditioning.signals else None
            )
        self.generator_average.set_weights(self.generator.get_weights())
        trained = {"generator": self.generator, "discriminator": self.discriminator}
        if self.estimator:
            trained["estimator"] = self.estimator
        self.networks = trained | {"generator_average": self.generator_average}
        self.trained = {name: network.trainable_variables for name, network in trained.items()}
        self._finish_building()
        self._r1_control = R1Control(training)
        self.state |= self._r1_control.state
        self._held_out = self._checked(held_out, held_out_conditioning)
        self._decode = decode
        self._predict = tf.function(self._held_out_outputs, autograph=False)

    def set_output_spread(
        self, scale: np.ndarray, shift: np.ndarray, correlation: np.ndarray
    ) -> None:
        """Before the first step: of the training latents, see `gan.set_output_spread`."""
        for generator in (self.generator, self.generator_average):
            gan.set_output_spread(generator, scale, shift, correlation)

    def _checked(
        self, held_out: np.ndarray | None, conditioning: np.ndarray | None
    ) -> list[np.ndarray]:
        """Held-out latents and, of a conditional system, what belongs to them; float32."""
        if held_out is None:
            return []
        length, depth = 2 * self.config.gan.seq_len, self.config.stereo_latent_depth
        if held_out.shape != (len(held_out), length, depth) or not len(held_out):
            raise ValueError(
                f"held_out has shape {list(held_out.shape)}; it must be [n, {length}, {depth}]: "
                "n crops of two patches of stereo latents"
            )
        checked = [held_out]
        if n_signals := self.config.conditioning.n_signals:
            with_context = length + 2 * self.config.gan.context_n_steps
            wanted = [len(held_out), with_context, n_signals]
            found = None if conditioning is None else list(conditioning.shape)
            if found != wanted:
                raise ValueError(
                    f"held_out_conditioning has shape {found}; it must be {wanted}: what belongs "
                    "to held_out and its context"
                )
            checked.append(conditioning)
        return [np.asarray(array, np.float32) for array in checked]

    # Forward

    def _generate(
        self,
        generator: keras.Model,
        number: tf.Tensor,
        batch_size: int,
        conditioning: tf.Tensor | None = None,
        is_shared: bool = False,
    ) -> tf.Tensor:
        """The windows of a draw, see `gan_draws.windows`.

        Given [B, 2·seq_len + 2·context_n_steps, n_signals] in user units or, being unconditional,
        nothing, it makes float32 [B, 2·seq_len, stereo_latent_depth].
        """
        windows, style, start = gan_draws.windows(
            self.config.gan, self.training.seed, number, batch_size, is_shared
        )
        return gan.latents(self.config, generator, windows, style, conditioning, start)

    # Training

    def step(self, *batch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one training step, and adapts γ of R1 to it."""
        metrics = super().step(*batch)
        self._r1_control.after_step(metrics["discriminator/hinge"], metrics["skipped"] == 0.0)
        return metrics

    def gradients(
        self, latents: tf.Tensor, conditioning: tf.Tensor | None = None
    ) -> tuple[Gradients, dict[str, tf.Tensor]]:
        """Of one step.

        Args:
          latents: real ones, float32 [batch, 2·seq_len, stereo_latent_depth].
          conditioning: what belongs to them and to the context on both sides, float32
            [batch, 2·seq_len + 2·context_n_steps, n_signals] in user units; None: the system is
            unconditional.
        """
        number = self.state["step"].read_value()
        latents = gan_draws.exchanged(latents, self.training.seed, number)
        beside = gan.without_context(self.config, conditioning)
        # One forward pass of each network serves all losses but R1.
        with tf.GradientTape(persistent=True) as tape:
            fake = self._generate(
                self.generator, number, latents.shape[0], conditioning, is_shared=True
            )
            seen, fake_seen = (
                critics.standardised(self.config, self.generator, x) for x in (latents, fake)
            )
            # The reconstruction of fakes is not used, and so not computed.
            fake_logits, _ = critics.judged(self.discriminator, fake_seen, beside)
            real_logits, reconstruction = critics.judged(self.discriminator, seen, beside)
            fake_logit = tf.reduce_mean(losses.mean_logit(fake_logits))
            terms = {
                "hinge": losses.hinge_of_parts(real_logits, fake_logits),
                "reconstruction": losses.l1(seen, reconstruction),
            }
            # A single example has no other to go on as.
            if self.training.spliced_weight and latents.shape[0] > 1:
                spliced_logits, _ = critics.judged(
                    self.discriminator, *self._spliced(seen, beside, number)
                )
                weight = self.training.spliced_weight
                terms["spliced"] = weight * losses.hinge_of_negatives(spliced_logits)
            objectives = {"generator": -fake_logit, "discriminator": sum(terms.values())}
            errors = {}
            if conditioning is not None:
                errors = self._estimator_errors(seen, fake_seen, beside)
                weighted = self.training.conditioning_weight * errors["estimator/fake_error"]
                objectives["estimator"] = errors["estimator/real_error"]
                objectives["generator"] += weighted
            targets = {name: self.target(loss) for name, loss in objectives.items()}
        gradients = {
            name: tape.gradient(target, self.trained[name]) for name, target in targets.items()
        }
        terms["r1"], of_r1 = self._r1(seen, beside)
        gradients["discriminator"] = list(map(tf.add, gradients["discriminator"], of_r1))
        metrics = {f"discriminator/{name}": value for name, value in terms.items()} | {
            "discriminator/r1_gamma": self._r1_control.gamma,
            "discriminator/real_logit": tf.reduce_mean(losses.mean_logit(real_logits)),
            "discriminator/fake_logit": fake_logit,
            "generator/adversarial": -fake_logit,
            "latents/spread_ratio": _spread(fake) / _spread(latents),
        }
        return gradients, metrics | errors

    def _spliced(
        self, latents: tf.Tensor, conditioning: tf.Tensor | None, number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Latents and conditioning cut at the same steps; in every second step conditioning is not:
        real music that does not follow it. Were it never, nothing else about it would be heard."""
        spliced = functools.partial(gan_draws.spliced, seed=self.training.seed, number=number)
        if conditioning is not None:
            conditioning = tf.where(number % 2 == 0, spliced(conditioning), conditioning)
        return spliced(latents), conditioning

    def _r1(
        self, latents: tf.Tensor, conditioning: tf.Tensor | None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """R1, and what γ times it adds to the discriminator's gradients; zeros in most steps.

        Where it is due both count r1_period times, so that means over steps are what they would be.
        """
        period = self.training.r1_period
        variables = [variable.value for variable in self.trained["discriminator"]]

        def penalty():
            with tf.GradientTape() as tape:
                with tf.GradientTape() as inner_tape:
                    inner_tape.watch(latents)
                    logits, _ = critics.judged(self.discriminator, latents, conditioning)
                    # Examples do not mix, so the gradient of the sum holds each example's own.
                    total = tf.reduce_sum(losses.mean_logit(logits))
                r1 = period * losses.r1_penalty(inner_tape.gradient(total, latents))
                target = self.target(self._r1_control.gamma * r1)
            zero = tf.UnconnectedGradients.ZERO
            return r1, tape.gradient(target, variables, unconnected_gradients=zero)

        def nothing():
            return tf.zeros([]), [tf.zeros_like(variable) for variable in variables]

        return tf.cond(self.state["step"].read_value() % period == 0, penalty, nothing)

    def _estimator_errors(
        self, latents: tf.Tensor, fake: tf.Tensor, conditioning: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """How far its estimates of real and of generated latents are from their conditioning.

        Mean absolute differences in model units, in which a signal's range is 2; each signal counts
        alike.
        """
        signals = self.config.conditioning.signals
        wanted, weights = to_model_units(conditioning, signals), feature_weights(signals)
        return {
            f"estimator/{name}_error": losses.l1(weights * wanted, weights * self.estimator(seen))
            for name, seen in (("real", latents), ("fake", fake))
        }

    def after_update(self) -> None:
        """Moves the averaged generator towards the generator."""
        self.move_average(self.generator_average, self.generator)

    # Held-out metrics and samples

    def _held_out_outputs(
        self, real: tf.Tensor, conditioning: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        networks = validation.Networks(self.generator_average, self.discriminator, self.estimator)
        return validation.outputs(self.config, networks, self.training.seed, real, conditioning)

    def validate(self) -> dict[str, float]:
        """The averaged generator, at fixed seeds, against held-out latents: `validation.gan`."""
        if not self._held_out:
            return {}
        outputs = {name: x.numpy() for name, x in self._predict(*self._held_out).items()}
        return validation.gan(self.config, outputs, *self._held_out)

    def diagnose(self, metrics: Mapping[str, float]) -> str | None:
        """Tells of a discriminator that wins, or that knows its examples by heart."""
        names = "discriminator/real_logit", "discriminator/fake_logit", "held_out/real_logit"
        real, fake, held_out = (metrics.get(name, math.nan) for name in names)
        if real - fake > 1.0 and held_out < (real + fake) / 2:
            return (
                f"the discriminator knows its examples by heart: it gives {real:.2f} to those it "
                f"trains on, {held_out:.2f} to real music it has not seen and {fake:.2f} to "
                "generated: raise --r1_gamma, add more audio, or take the best checkpoint so far"
            )
        return won_diagnosis(metrics["discriminator/hinge"], "raise --r1_gamma, add more audio")

    def sample(self) -> Samples:
        """Pieces of the averaged generator, drawn from the same seeds every time.

        Piece i is what `musika-generate --seed=0` begins its sample i with; a conditional generator
        is given the conditioning of a held-out example, another one for each piece.
        """
        is_ready = self._decode and (self._held_out or not self.config.conditioning.signals)
        waveforms = {}
        for piece in range(_N_SAMPLE_PIECES if is_ready else 0):
            waveform = self._decode(self._piece_latents(piece))
            waveforms[f"piece{piece}"] = np.asarray(waveform, np.float32)[0]
        return Samples(waveforms, self.config.audio.sample_rate_hz)

    def _piece_latents(self, piece: int) -> tf.Tensor:
        """Float32 [1, 2·seq_len, stereo_latent_depth] from the first anchor to the next.

        Drawn as `Player.stream` draws them of seed (0, piece) and truncation 2, so that an export
        of these weights makes the same latents.
        """
        sizes = self.config.gan
        seed, truncation = tf.constant([[_SAMPLE_SEED, piece]]), tf.constant([_SAMPLE_TRUNCATION])
        context, n_steps = sizes.context_n_steps, 2 * (sizes.seq_len + sizes.context_n_steps)
        window, conditioning = (-context, n_steps, truncation), None
        line, style = coordinates.draw_window(sizes, seed, seed, *window)
        if self.config.conditioning.signals:
            given = self._held_out[1]
            conditioning = tf.constant(given[piece * len(given) // _N_SAMPLE_PIECES][np.newaxis])
        start = tf.zeros([1], tf.int32)
        return gan.latents(self.config, self.generator_average, line, style, conditioning, start)


def _spread(latents: tf.Tensor) -> tf.Tensor:
    """Standard deviation of a channel over batch and time, mean over the channels."""
    return tf.reduce_mean(tf.math.reduce_std(latents, axis=(0, 1)))
