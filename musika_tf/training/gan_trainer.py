"""Training of the latent GAN, conditional or not (paper §3.2, §4.2, §5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from musika_tf.conditioning.units import to_model_units
from musika_tf.config import Config, TrainingConfig
from musika_tf.networks import coordinates, gan, precision
from musika_tf.training import devices, losses, validation
from musika_tf.training.trainer import Gradients, Samples, Trainer, won_diagnosis

# A training example is two adjacent patches, so that the discriminator sees where they meet.
_N_PATCHES = 2

# Pieces to listen to: how many, how long, and the defaults by which `musika-generate` draws.
_N_SAMPLE_PIECES = 2
_SAMPLE_N_ANCHORS = 2
_SAMPLE_SEED = 0
_SAMPLE_TRUNCATION = 2.0

# Stands where training has the step, which never is negative.
_HELD_OUT_DRAW = -1

_HELD_OUT_LOGIT = "held_out/real_logit"


class GanTrainer(Trainer):
    """Trains generator and discriminator, and keeps the moving average of the generator.

    Both networks are updated at once from one forward pass of each: the discriminator with the
    hinge loss, R1 and its reconstruction of real latents, the generator with the adversarial loss.
    A conditional generator also learns from an estimator, trained beside them on real latents, how
    far its latents are from its conditioning.
    Anchors, style and crop of a step follow from the seed and the step's number.

    A conditional generator is given the conditioning of the real latents of the batch, and the
    discriminator sees the same beside real latents and beside fakes.

    Args:
      config: the system.
      training: batch size, learning rate, r1_weight, average_decay, seed.
      held_out: float32 [n, 2·seq_len, stereo_latent_depth]: real latents that are never trained
        on; None: `validate` has nothing to tell.
      held_out_conditioning: of a conditional system, float32 [n, 2·seq_len, n_signals] in user
        units: what belongs to `held_out`, and what the pieces of `sample` are given.
      decode: latents [1, n, stereo_latent_depth] → waveform [1, n_samples, 2]; None: `sample` has
        nothing to play.
      n_steps: length of the stage, see `Trainer`.

    Raises:
      ValueError: held_out or its conditioning has another shape, or one of a conditional system is
        missing.
    """

    best_metric = "held_out/frechet"

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
            self.discriminator = gan.build_discriminator(config)
            self.estimator = gan.build_estimator(config) if config.conditioning.signals else None
        self.generator_average.set_weights(self.generator.get_weights())
        trained = {"generator": self.generator, "discriminator": self.discriminator}
        if self.estimator:
            trained["estimator"] = self.estimator
        self.networks = trained | {"generator_average": self.generator_average}
        self.trained = {name: network.trainable_variables for name, network in trained.items()}
        self._finish_building()
        self._held_out = self._checked(held_out, held_out_conditioning)
        self._decode = decode
        self._predict = tf.function(self._held_out_outputs, autograph=False)

    def _checked(
        self, held_out: np.ndarray | None, conditioning: np.ndarray | None
    ) -> list[np.ndarray]:
        """Held-out latents and, of a conditional system, what belongs to them; float32."""
        if held_out is None:
            return []
        length, depth = _N_PATCHES * self.config.gan.seq_len, self.config.stereo_latent_depth
        if held_out.shape != (len(held_out), length, depth) or not len(held_out):
            raise ValueError(
                f"held_out has shape {list(held_out.shape)}; it must be [n, {length}, {depth}]: "
                "n crops of two patches of stereo latents"
            )
        checked = [held_out]
        if n_signals := self.config.conditioning.n_signals:
            wanted = [*held_out.shape[:2], n_signals]
            found = None if conditioning is None else list(conditioning.shape)
            if found != wanted:
                raise ValueError(
                    f"held_out_conditioning has shape {found}; it must be {wanted}: what belongs "
                    "to held_out"
                )
            checked.append(conditioning)
        return [np.asarray(array, np.float32) for array in checked]

    # Forward

    def _draw(
        self, number: tf.Tensor, batch_size: int, is_shared: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Coordinates of pairs of patches [2·B, seq_len, D], first patches first, and styles.

        Args:
          number: of the draw.
          batch_size: B.
          is_shared: B is a replica's part of a batch that is drawn for all replicas together.
        """
        sizes, alg = self.config.gan, "philox"
        seed = tf.stack([tf.constant(self.training.seed, tf.int64), tf.cast(number, tf.int64)])
        seeds = tf.unstack(tf.random.split(seed, 3, alg=alg))
        n = batch_size * (devices.n_replicas() if is_shared else 1)
        anchors = tf.random.stateless_normal([n, 3, sizes.anchor_depth], seeds[0], alg=alg)
        style = tf.random.stateless_normal([n, sizes.style_depth], seeds[1], alg=alg)
        n_starts = coordinates.n_crop_starts(sizes.seq_len)
        starts = tf.random.stateless_uniform([n], seeds[2], 0, n_starts, tf.int32, alg=alg)
        if is_shared:
            anchors, style, starts = map(devices.replica_rows, (anchors, style, starts))
        pair = coordinates.training_coordinates(anchors, starts, sizes.seq_len)
        return tf.concat(pair, axis=0), tf.concat([style] * _N_PATCHES, axis=0)

    def _generate(
        self,
        generator: keras.Model,
        number: tf.Tensor,
        batch_size: int,
        conditioning: tf.Tensor | None = None,
        is_shared: bool = False,
    ) -> tf.Tensor:
        """Pairs of adjacent patches of one style, joined (paper §3.2), as `_draw` draws them.

        Given [B, 2·seq_len, n_signals] in user units or, being unconditional, nothing, it makes
        float32 [B, 2·seq_len, stereo_latent_depth].
        """
        inputs = [*self._draw(number, batch_size, is_shared)]
        if conditioning is not None:
            inputs.append(tf.concat(tf.split(conditioning, _N_PATCHES, axis=1), axis=0))
        patches = generator(inputs)
        return tf.concat(tf.split(patches, _N_PATCHES), axis=1)

    def _judge(
        self, latents: tf.Tensor, conditioning: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits and reconstruction."""
        return self.discriminator(latents if conditioning is None else [latents, conditioning])

    # Training

    def gradients(
        self, latents: tf.Tensor, conditioning: tf.Tensor | None = None
    ) -> tuple[Gradients, dict[str, tf.Tensor]]:
        """Of one step.

        Args:
          latents: real ones, float32 [batch, 2·seq_len, stereo_latent_depth].
          conditioning: what belongs to them, float32 [batch, 2·seq_len, n_signals] in user units;
            None: the system is unconditional.
        """
        number = self.state["step"].read_value()
        # One forward pass of each network serves all losses.
        with tf.GradientTape(persistent=True) as tape:
            fake = self._generate(
                self.generator, number, latents.shape[0], conditioning, is_shared=True
            )
            # The reconstruction of fakes is not used, and so not computed.
            fake_logits, _ = self._judge(fake, conditioning)
            adversarial = losses.hinge_generator_loss(fake_logits)
            terms, real_logits = self._discriminator_terms(latents, fake_logits, conditioning)
            discriminator_loss = (
                terms["hinge"] + terms["reconstruction"] + self.training.r1_weight * terms["r1"]
            )
            objectives = {"generator": adversarial, "discriminator": discriminator_loss}
            errors = {}
            if conditioning is not None:
                errors = self._estimator_errors(latents, fake, conditioning)
                weighted = self.training.conditioning_weight * errors["estimator/fake_error"]
                objectives["estimator"] = errors["estimator/real_error"]
                objectives["generator"] += weighted
            targets = {name: self.target(loss) for name, loss in objectives.items()}
        gradients = {
            name: tape.gradient(target, self.trained[name]) for name, target in targets.items()
        }
        metrics = {f"discriminator/{name}": value for name, value in terms.items()} | {
            "discriminator/real_logit": tf.reduce_mean(real_logits),
            "discriminator/fake_logit": tf.reduce_mean(fake_logits),
            "generator/adversarial": adversarial,
            "latents/spread_ratio": _spread(fake) / _spread(latents),
        }
        return gradients, metrics | errors

    def _discriminator_terms(
        self, latents: tf.Tensor, fake_logits: tf.Tensor, conditioning: tf.Tensor | None
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as inner_tape:
            inner_tape.watch(latents)
            real_logits, reconstruction = self._judge(latents, conditioning)
            # Examples do not mix, so the gradient of the sum holds each example's own.
            critic_sum = tf.reduce_sum(real_logits)
        terms = {
            "hinge": losses.hinge_discriminator_loss(real_logits, fake_logits),
            "reconstruction": losses.l1(latents, reconstruction),
            "r1": losses.r1_penalty(inner_tape.gradient(critic_sum, latents)),
        }
        return terms, real_logits

    def _estimator_errors(
        self, latents: tf.Tensor, fake: tf.Tensor, conditioning: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """How far its estimates of real and of generated latents are from their conditioning.

        Mean absolute differences in model units, in which a signal's range is 2.
        """
        wanted = to_model_units(conditioning, self.config.conditioning.signals)
        return {
            "estimator/real_error": losses.l1(wanted, self.estimator(latents)),
            "estimator/fake_error": losses.l1(wanted, self.estimator(fake)),
        }

    def after_update(self) -> None:
        """Moves the averaged generator towards the generator."""
        self.move_average(self.generator_average, self.generator)

    # Held-out metrics and samples

    def _held_out_outputs(
        self, real: tf.Tensor, conditioning: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        number = tf.constant(_HELD_OUT_DRAW, tf.int64)
        fake = self._generate(self.generator_average, number, real.shape[0], conditioning)
        outputs = {
            "fake": fake,
            "real_logits": self._judge(real, conditioning)[0],
            "fake_logits": self._judge(fake, conditioning)[0],
        }
        if conditioning is not None:
            # Of examples far away: neighbours may come from one piece.
            of_others = tf.roll(conditioning, max(1, real.shape[0] // 2), axis=0)
            outputs["mismatched_logits"] = self._judge(real, of_others)[0]
            outputs["real_estimate"] = self.estimator(real)
            outputs["fake_estimate"] = self.estimator(fake)
            outputs["fake_of_others"] = self._generate(
                self.generator_average, number, real.shape[0], of_others
            )
        return outputs

    def validate(self) -> dict[str, float]:
        """The averaged generator, at fixed seeds, against held-out latents: `validation.gan`."""
        if not self._held_out:
            return {}
        outputs = {name: x.numpy() for name, x in self._predict(*self._held_out).items()}
        signals = self.config.conditioning.signals
        wanted = to_model_units(self._held_out[1], signals) if signals else None
        return validation.gan(self._held_out[0], outputs, wanted)

    def diagnose(self, metrics: Mapping[str, float]) -> str | None:
        """Tells of a discriminator that wins, or that knows its examples by heart."""
        real, fake, held_out = (
            metrics.get(name, math.nan)
            for name in ("discriminator/real_logit", "discriminator/fake_logit", _HELD_OUT_LOGIT)
        )
        if real - fake > 1.0 and held_out < (real + fake) / 2:
            return (
                f"the discriminator knows its examples by heart: it gives {real:.2f} to those it "
                f"trains on, {held_out:.2f} to real music it has not seen and {fake:.2f} to "
                "generated: raise --r1_weight, add more audio, or take the best checkpoint so far"
            )
        return won_diagnosis(metrics["discriminator/hinge"], "raise --r1_weight, add more audio")

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
        seed, truncation = tf.constant([[_SAMPLE_SEED, piece]]), tf.constant([_SAMPLE_TRUNCATION])
        (patches,), style = coordinates.draw_patches(
            self.config.gan, seed, 0, _SAMPLE_N_ANCHORS, truncation
        )
        styles, conditioning = tf.repeat(style, len(patches), axis=0), self._conditioning_of(piece)
        latents = self.generator_average([patches, styles, *conditioning])
        return tf.reshape(latents, [1, -1, self.config.stereo_latent_depth])

    def _conditioning_of(self, piece: int) -> list[tf.Tensor]:
        """The conditioning of the patches of a piece, [2, seq_len, n_signals]; or nothing."""
        shape = [_N_PATCHES, self.config.gan.seq_len, self.config.conditioning.n_signals]
        return [
            tf.reshape(conditioning[piece * len(conditioning) // _N_SAMPLE_PIECES], shape)
            for conditioning in self._held_out[1:]
        ]


def _spread(latents: tf.Tensor) -> tf.Tensor:
    """Standard deviation of a channel over batch and time, mean over the channels."""
    return tf.reduce_mean(tf.math.reduce_std(latents, axis=(0, 1)))
