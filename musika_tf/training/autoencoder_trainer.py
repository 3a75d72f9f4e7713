"""One stage of autoencoder training: level 1 or 2, phase 1 or 2 (paper §3.1, §4.1)."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from musika_tf import spectral
from musika_tf.config import Config
from musika_tf.networks import precision, spectral_norm
from musika_tf.networks.autoencoder import (
    Autoencoder,
    build_decoder1,
    build_decoder2,
    build_discriminator,
)
from musika_tf.runs import checkpoint
from musika_tf.training import losses
from musika_tf.training.trainer import Gradients, Samples, Trainer, won_diagnosis
from musika_tf.training_config import TrainingConfig

# A training example is two adjacent excerpts, so that the discriminator sees where they meet.
N_EXCERPTS = 2
_ADVERSARIAL_METRICS = (
    "decoder/adversarial",
    "discriminator/hinge",
    "discriminator/real_logit",
    "discriminator/fake_logit",
)


class AutoencoderTrainer(Trainer):
    """Trains the networks of one level in one phase; everything else stays as it is.

    | level, phase | trained              | objective                                         |
    | 1, 1         | encoder 1, decoder 1 | L1 of log magnitudes, weighted by audibility      |
    | 1, 2         | decoder 1            | multi-scale + L1 + adversarial, all of waveforms  |
    | 2, 1         | encoder 2, decoder 2 | as 1, 1 through the frozen decoder 1              |
    | 2, 2         | decoder 2            | as 1, 2 through the frozen decoder 1              |

    In phase 2 the networks hold the decoder twice: `decoder1_learning` is what gradients move, and
    `decoder1` its moving average, which is what later stages and listeners get. The discriminator
    comes in for the last part of the steps, and then takes part every few steps (ours).

    What level 2 is compared with is what decoder 1 makes of the true level-1 latents (ours; the
    paper does so for the discriminator, §4.1): it cannot and need not do better than level 1.

    Args:
      level, phase: 1 or 2.
      held_out: float32 [n, k·excerpt_n_samples + overlap_size], k even: mono excerpts that
        `validate` and `sample` use; never trained on.
    """

    def __init__(
        self,
        *,
        config: Config,
        training: TrainingConfig,
        level: int,
        phase: int,
        held_out: np.ndarray,
        n_steps: int | None = None,
    ):
        super().__init__(training, n_steps)
        self.config = config
        self.level, self.phase = level, phase
        self._decoder_name, self._learning_name = f"decoder{level}", f"decoder{level}_learning"
        with precision.networks_of(training.precision):
            self._build()
        self._finish_building()
        self.best_metric = f"held_out/{'log_magnitude_l1' if phase == 1 else 'multi_scale'}"
        self._held_out = np.asarray(held_out, np.float32)
        self._evaluate = tf.function(self._held_out_metrics, autograph=False)

    def _build(self) -> None:
        config = self.config
        self.autoencoder = Autoencoder(config, n_levels=self.level)
        self.networks = dict(self.autoencoder.networks)
        # What gradients move: the autoencoder itself, or one with another decoder.
        self._learning = self.autoencoder
        if self.phase == 2:
            learning = {1: build_decoder1, 2: build_decoder2}[self.level](config)
            self.networks[self._learning_name] = learning
            self._start_learning()
            self._learning = self.autoencoder.with_network(self._decoder_name, learning)
        self.trained = {"decoder": self._trained_variables()}
        if self.phase == 2:
            self._discriminator_stft = config.audio.discriminator_window_size, config.audio.hop_size
            n_samples = N_EXCERPTS * config.audio.excerpt_n_samples - config.audio.overlap_size
            n_frames = spectral.n_frames_of(n_samples, *self._discriminator_stft)
            self.discriminator = build_discriminator(config, n_frames)
            self.networks["discriminator"] = self.discriminator
            self.trained["discriminator"] = self.discriminator.trainable_variables

    def _trained_variables(self) -> list[keras.Variable]:
        networks = self._learning.networks
        encoder, decoder = networks[f"encoder{self.level}"], networks[self._decoder_name]
        if self.phase == 2:
            return decoder.trainable_variables
        variables = encoder.trainable_variables + decoder.trainable_variables
        for_phases = [v for name in self._phase_layers for v in decoder.get_layer(name).weights]
        return [v for v in variables if not any(v is other for other in for_phases)]

    @property
    def _phase_layers(self) -> tuple[str, ...]:
        """Layers of the decoder that only phases need: phase 1 does not train them."""
        if self.level == 2:
            return ()
        return ("head", "phase") if self.config.autoencoder.principal_path else ("phase",)

    @property
    def new_networks(self) -> tuple[str, ...]:
        """Networks that the stage before does not hand over."""
        return ("discriminator",) if self.phase == 2 else ("encoder2", "decoder2")

    def begin_with(self, path: pathlib.Path, left_out: Sequence[str] = ()) -> None:
        """Takes over the weights of a checkpoint, but for the networks that are left out.

        Where it holds no decoder that learns, being of phase 1 or released, that one starts from
        the decoder.
        """
        taken = {name: net for name, net in self.networks.items() if name not in left_out}
        if self._learning_name not in checkpoint.network_names(path):
            taken.pop(self._learning_name, None)
        checkpoint.load_networks(path, taken)
        if self.phase == 2 and self._learning_name not in taken:
            self._start_learning()

    def _start_learning(self) -> None:
        weights = self.networks[self._decoder_name].get_weights()
        self.networks[self._learning_name].set_weights(weights)

    def is_due(self, name: str) -> bool | tf.Tensor:
        """The discriminator is trained from its share of the steps on, every few steps."""
        return name != "discriminator" or self._is_adversarial()

    def _is_adversarial(self) -> tf.Tensor:
        """Whether the discriminator takes part in this step."""
        start = self.training.adversarial_start_share * (self.n_steps or 0)
        step = self.state["step"].read_value()
        return (step % self.training.adversarial_period == 0) & (self._n_done() >= start)

    def after_update(self) -> None:
        """Moves the averaged decoder towards the one that learns."""
        if self.phase == 2:
            self.move_average(self.networks[self._decoder_name], self.networks[self._learning_name])

    # Forward

    def _decode(
        self, autoencoder: Autoencoder, level1_latents: tf.Tensor, level: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Level-1 latents through `level` levels: log magnitudes and phase directions."""
        if level == 2:
            latents = autoencoder.encode2(level1_latents)
            if self.phase == 2:
                latents = tf.stop_gradient(latents)
            level1_latents = autoencoder.decode2(latents)
        elif self.phase == 2:
            level1_latents = tf.stop_gradient(level1_latents)
        return autoencoder.decode1(level1_latents)

    def _waveform(self, log_magnitudes: tf.Tensor, directions: tf.Tensor) -> tf.Tensor:
        spectrum = self.autoencoder.spectrum(log_magnitudes, directions)
        return self._complete(self.autoencoder.inverse_stft(spectrum))

    def _complete(self, waveforms: tf.Tensor) -> tf.Tensor:
        """Cuts off both ends, which an inverse STFT cannot rebuild."""
        overlap_size = self.config.audio.overlap_size
        return waveforms[:, overlap_size:-overlap_size]

    # Training

    def gradients(self, waveforms: tf.Tensor) -> tuple[Gradients, dict[str, tf.Tensor]]:
        """Of one step on float32 [batch, pair_n_samples] in [-1, 1]."""
        log_magnitudes = self.autoencoder.log_spectrogram(waveforms)
        if self.phase == 1:
            return self._magnitude_gradients(log_magnitudes)
        return self._waveform_gradients(waveforms, log_magnitudes)

    def _magnitude_gradients(self, log_magnitudes: tf.Tensor):
        target = self._target_magnitudes(log_magnitudes)
        with tf.GradientTape() as tape:
            level1_latents = self.autoencoder.encode1(log_magnitudes)
            decoded, _ = self._decode(self.autoencoder, level1_latents, self.level)
            loss = losses.audible_l1(target, decoded)
            scaled = self.target(loss)
        gradients = {"decoder": tape.gradient(scaled, self.trained["decoder"])}
        return gradients, {"decoder/audible_l1": loss}

    def _target_magnitudes(self, log_magnitudes: tf.Tensor) -> tf.Tensor:
        """What the magnitudes of decoder 1 are compared with.

        At level 2 that is what it makes of true level-1 latents: after its phase 2 it is off the
        truth on purpose, because its frames cancel each other in part.
        """
        if self.level == 1:
            return log_magnitudes
        return self.autoencoder.decode1(self.autoencoder.encode1(log_magnitudes))[0]

    def _waveform_gradients(self, waveforms: tf.Tensor, log_magnitudes: tf.Tensor):
        level1_latents = self.autoencoder.encode1(log_magnitudes)
        target = self._complete(waveforms)
        if self.level == 2:
            target = self._waveform(*self._decode(self.autoencoder, level1_latents, 1))
        with tf.GradientTape() as tape:
            made = self._waveform(*self._decode(self._learning, level1_latents, self.level))
        towards_target, reconstruction = self._reconstruction_gradient(target, made)
        # At every step: replicas cannot write inside a condition.
        spectral_norm.update_all(self.discriminator)
        absent = made, self.trained["discriminator"], dict.fromkeys(_ADVERSARIAL_METRICS, 0.0)
        past_adversary, discriminator_gradients, adversary = tf.cond(
            self._is_adversarial(),
            lambda: self._adversarial_gradients(target, made),
            lambda: tf.nest.map_structure(tf.zeros_like, absent),
        )
        gradients = {
            "decoder": tape.gradient(
                made, self.trained["decoder"], output_gradients=towards_target + past_adversary
            ),
            "discriminator": discriminator_gradients,
        }
        return gradients, reconstruction | adversary

    def _reconstruction_gradient(
        self, target: tf.Tensor, made: tf.Tensor
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Of waveforms [batch, n_samples] by the distance between them, and its metrics."""
        with tf.GradientTape() as tape:
            tape.watch(made)
            terms = self._reconstruction_terms(target, made)
            loss = (
                self.training.reconstruction_weight * terms["log_magnitude_l1"]
                + self.training.multi_scale_weight * terms["multi_scale"]
            )
            scaled = self.target(loss)
        return tape.gradient(scaled, made), {f"decoder/{name}": x for name, x in terms.items()}

    def _adversarial_gradients(
        self, target: tf.Tensor, made: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor], dict[str, tf.Tensor]]:
        """Of what was made, and of the discriminator's weights; and their metrics."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(made)
            terms = self._adversarial_terms(target, made)
            made_target = self.target(terms["decoder/adversarial"])
            discriminator_target = self.target(terms["discriminator/hinge"])
        # A call's metrics are means over its steps: these become means over the adversary's.
        period = self.training.adversarial_period
        return (
            tape.gradient(made_target, made),
            tape.gradient(discriminator_target, self.trained["discriminator"]),
            {name: period * term for name, term in terms.items()},
        )

    def _reconstruction_terms(self, target: tf.Tensor, made: tf.Tensor) -> dict[str, tf.Tensor]:
        """Distances of waveforms [batch, n_samples]."""
        spectrograms = (self.autoencoder.log_spectrogram(w) for w in (target, made))
        hop_sizes = self.config.audio.multi_scale_hop_sizes
        return {
            "log_magnitude_l1": losses.l1(*spectrograms),
            "multi_scale": losses.multi_scale_spectral_distance(target, made, hop_sizes),
        }

    def _adversarial_terms(self, target: tf.Tensor, made: tf.Tensor) -> dict[str, tf.Tensor]:
        waveforms = tf.concat([target, made], axis=0)
        views = spectral.log_spectrogram(waveforms, *self._discriminator_stft)
        real_logits, fake_logits = tf.split(self.discriminator(views), 2)
        terms = (
            losses.hinge_generator_loss(fake_logits),
            losses.hinge_discriminator_loss(real_logits, fake_logits),
            tf.reduce_mean(real_logits),
            tf.reduce_mean(fake_logits),
        )
        return dict(zip(_ADVERSARIAL_METRICS, terms, strict=True))

    # Held-out metrics and samples

    def _held_out_pairs(self) -> np.ndarray:
        """The held-out excerpts cut into training-sized pairs."""
        audio = self.config.audio
        hop, length = N_EXCERPTS * audio.excerpt_n_samples, audio.pair_n_samples
        starts = range(0, self._held_out.shape[1] - length + 1, hop)
        return np.concatenate([self._held_out[:, start : start + length] for start in starts])

    def _held_out_metrics(self, waveforms: tf.Tensor) -> dict[str, tf.Tensor]:
        log_magnitudes = self.autoencoder.log_spectrogram(waveforms)
        level1_latents = self.autoencoder.encode1(log_magnitudes)
        decoded, directions = self._decode(self.autoencoder, level1_latents, self.level)
        target = self._target_magnitudes(log_magnitudes)
        metrics = {"held_out/log_magnitude_l1": losses.l1(target, decoded)}
        if self.phase == 2:
            made = self._waveform(decoded, directions)
            terms = self._reconstruction_terms(self._complete(waveforms), made)
            metrics["held_out/multi_scale"] = terms["multi_scale"]
            metrics["held_out/waveform_log_magnitude_l1"] = terms["log_magnitude_l1"]
        return metrics

    def validate(self) -> dict[str, float]:
        """Metrics on the held-out pairs; lower is better for all of them.

        Returns:
          held_out/log_magnitude_l1: of what decoder 1 gives, before phases, see
            `_target_magnitudes`.
          held_out/multi_scale: in phase 2, of the waveform.
          held_out/waveform_log_magnitude_l1: in phase 2, the L1 once more, but of the waveform's
            own spectrogram: where frames cancel each other in part, the decoder learns to ask for
            more than it wants, so that the first metric rises while the sound gets closer.
        """
        pairs = self._held_out_pairs()
        batches = np.array_split(pairs, math.ceil(len(pairs) / self.training.batch_size))
        measured = [self._evaluate(batch) for batch in batches]
        weights = [len(batch) for batch in batches]
        return {
            name: float(np.average([metrics[name] for metrics in measured], weights=weights))
            for name in measured[0]
        }

    def diagnose(self, metrics: Mapping[str, float]) -> str | None:
        """Tells of a discriminator that wins, once it has come in."""
        hinge = metrics.get("discriminator/hinge", 0.0)
        return won_diagnosis(hinge, "raise --multi_scale_weight") if hinge > 0.0 else None

    def sample(self) -> Samples:
        """Reconstructions of held-out excerpts; the originals are their references.

        Phase 1 has no phases: there the original's own are lent to the decoded magnitudes.
        """
        originals = self._held_out[:3]
        log_magnitudes = self.autoencoder.log_spectrogram(originals)
        level1_latents = self.autoencoder.encode1(log_magnitudes)
        decoded, directions = self._decode(self.autoencoder, level1_latents, self.level)
        if self.phase == 1:
            directions = self.autoencoder.directions(self.autoencoder.stft(originals))
        waveforms, references = {}, {}
        reconstructions = self._waveform(decoded, directions).numpy()
        for index, original in enumerate(self._complete(originals)):
            references[f"excerpt{index}/original"] = original[:, None]
            waveforms[f"excerpt{index}/reconstruction"] = reconstructions[index][:, None]
        return Samples(waveforms, self.config.audio.sample_rate_hz, references)
