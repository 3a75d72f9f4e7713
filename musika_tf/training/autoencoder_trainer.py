"""One stage of autoencoder training: level 1 or 2, phase 1 or 2 (paper §3.1, §4.1)."""

from __future__ import annotations

from collections.abc import Mapping

import os

import keras
import numpy as np
import tensorflow as tf

from musika_tf import losses, spectral, spectral_norm
from musika_tf.autoencoder import (
    Autoencoder,
    build_decoder1,
    build_decoder2,
    build_discriminator,
)
from musika_tf.config import Config, TrainingConfig
from musika_tf.principal import before_tanh
from musika_tf.training import precision
from musika_tf.training.trainer import Gradients, Samples, Trainer, won_diagnosis

# A training example is two adjacent excerpts, so that the discriminator sees where they meet.
N_EXCERPTS = 2


def X(name, default=0.0):
    return float(os.environ.get("X_" + name, default))


class AutoencoderTrainer(Trainer):
    """Trains the networks of one level in one phase; everything else stays as it is.

    | level, phase | trained              | objective                                   |
    | 1, 1         | encoder 1, decoder 1 | L1 of log magnitudes                        |
    | 1, 2         | decoder 1            | adversarial + L1 + multi-scale, with phases |
    | 2, 1         | encoder 2, decoder 2 | as 1, 1 through the frozen decoder 1        |
    | 2, 2         | decoder 2            | as 1, 2 through the frozen decoder 1        |

    Args:
      config: the system.
      training: batch size, learning rate, loss weights, seed.
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
        n_steps: int = 1,
    ):
        super().__init__(training, n_steps)
        self.config = config
        self.level, self.phase = level, phase
        with precision.networks_of(training.precision):
            self._build()
        self._finish_building()
        self.best_figure = f"held_out/{'log_magnitude_l1' if phase == 1 else 'multi_scale'}"
        self._held_out = np.asarray(held_out, np.float32)
        self._evaluate = tf.function(self._held_out_figures, autograph=False)

    def _build(self) -> None:
        config = self.config
        self.autoencoder = Autoencoder(config, n_levels=self.level)
        self.networks = dict(self.autoencoder.networks)
        self.learner = self.autoencoder
        if self.phase == 2:
            name = f"decoder{self.level}"
            learning = {1: build_decoder1, 2: build_decoder2}[self.level](config)
            self.networks[f"{name}_learning"] = learning
            self.learner = self.autoencoder.with_network(name, learning)
        self.trained = {"decoder": self._trained_variables()}
        if self.phase == 2:
            n_samples = N_EXCERPTS * config.audio.excerpt_n_samples - config.audio.overlap_size
            n_frames = spectral.n_frames_of(n_samples, *self._discriminator_stft)
            self.discriminator = build_discriminator(config, n_frames)
            self.networks["discriminator"] = self.discriminator
            self.features = keras.Model(
                self.discriminator.inputs,
                [l.output for l in self.discriminator.layers if l.name.startswith("leaky")],
            )
            self.trained["discriminator"] = self.discriminator.trainable_variables

    @property
    def _discriminator_stft(self) -> tuple[int, int]:
        return self.config.audio.discriminator_window_size, self.config.audio.hop_size

    def _trained_variables(self) -> list[keras.Variable]:
        encoder, decoder = (
            self.learner.networks[f"{name}{self.level}"] for name in ("encoder", "decoder")
        )
        if self.phase == 2:
            return decoder.trainable_variables
        variables = encoder.trainable_variables + decoder.trainable_variables
        unused = decoder.get_layer("phase").trainable_variables if self.level == 1 else []
        return [v for v in variables if not any(v is u for u in unused)]

    def inherited_networks(self) -> dict[str, keras.Model]:
        """Networks whose weights the stage before hands over: all but what this stage starts."""
        if self.phase == 2:
            new = ["discriminator", f"decoder{self.level}_learning"]
        else:
            new = ["encoder2", "decoder2"]
        return {name: network for name, network in self.networks.items() if name not in new}

    def begin(self) -> None:
        """Lets the decoder that learns start from the one that was inherited."""
        if self.phase == 2:
            inherited = self.networks[f"decoder{self.level}"]
            self.networks[f"decoder{self.level}_learning"].set_weights(inherited.get_weights())

    def after_update(self) -> None:
        """Moves the averaged decoder towards the one that learns."""
        if self.phase == 2:
            name = f"decoder{self.level}"
            self.move_average(self.networks[name], self.networks[f"{name}_learning"])

    # Forward

    def _decode(
        self, level1_latents: tf.Tensor, level: int, autoencoder: Autoencoder
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

    def _discriminator_view(self, waveforms: tf.Tensor) -> tf.Tensor:
        return spectral.log_spectrogram(waveforms, *self._discriminator_stft)

    # Training

    def gradients(self, waveforms: tf.Tensor) -> tuple[Gradients, dict[str, tf.Tensor]]:
        """Of one step on float32 [batch, pair_n_samples] in [-1, 1]."""
        log_magnitudes = self.autoencoder.log_spectrogram(waveforms)
        if self.phase == 1:
            return self._magnitude_gradients(log_magnitudes)
        return self._waveform_gradients(waveforms, log_magnitudes)

    def _magnitude_gradients(self, log_magnitudes: tf.Tensor):
        with tf.GradientTape() as tape:
            level1_latents = self.learner.encode1(log_magnitudes)
            if self.level == 2 and X("PRINCIPAL_L2"):
                linear = self.networks["decoder1"].get_layer("principal")
                target = linear(before_tanh(level1_latents))
                decoded = linear(before_tanh(self.learner.decode2(self.learner.encode2(level1_latents))))
            else:
                decoded, _ = self._decode(level1_latents, self.level, self.learner)
                target = log_magnitudes
                if self.level == 2:
                    target = self._decode(level1_latents, 1, self.autoencoder)[0]
            if X("AUDIBLE"):
                loss = losses.audible_l1(target, decoded, X("AUDIBLE"))
            else:
                loss = losses.l1(target, decoded)
            scaled = self.target(loss)
        gradients = {"decoder": tape.gradient(scaled, self.trained["decoder"])}
        return gradients, {"decoder/log_magnitude_l1": loss}

    def _waveform_gradients(self, waveforms: tf.Tensor, log_magnitudes: tf.Tensor):
        level1_latents = self.autoencoder.encode1(log_magnitudes)
        real = reference = self._complete(waveforms)
        target = log_magnitudes
        if self.level == 2:
            # Level 2 learns to be taken for level 1 alone (paper §4.1).
            target, directions = self._decode(level1_latents, 1, self.autoencoder)
            reference = self._waveform(target, directions)
        every, start = int(X("ADV_EVERY", 1)), X("ADV_START", 0.0)
        step = self.state["step"]
        is_adversarial = (step % every == 0) & (
            tf.cast(step, tf.float32) >= start * self.n_steps
        )
        args = level1_latents, real, reference, target
        if every == 1 and start == 0.0:
            return self._all_gradients(*args, True)
        return tf.cond(
            is_adversarial,
            lambda: self._all_gradients(*args, True),
            lambda: self._all_gradients(*args, False),
        )

    def _all_gradients(self, level1_latents, real, reference, target, with_adversary):
        if with_adversary:
            spectral_norm.update_all(self.discriminator)
        with tf.GradientTape(persistent=True) as tape:
            decoded, directions = self._decode(level1_latents, self.level, self.learner)
            spectrum = self.autoencoder.spectrum(decoded, directions)
            fake = self._complete(self.autoencoder.inverse_stft(spectrum))
            terms = {
                "log_magnitude_l1": losses.l1(target, decoded),
                "multi_scale": losses.multi_scale_spectral_distance(
                    real, fake, self.config.audio.multi_scale_hop_sizes
                ),
            }
            decoder_loss = (
                X("REC", self.training.reconstruction_weight) * terms["log_magnitude_l1"]
                + self.training.multi_scale_weight * terms["multi_scale"]
            )
            if X("WAVE_L1"):
                views = [self.autoencoder.log_spectrogram(w) for w in (real, fake)]
                terms["wave_l1"] = losses.l1(*views)
                decoder_loss += X("WAVE_L1") * terms["wave_l1"]
            if X("PHASE"):
                terms["phase"] = losses.phase_derivatives(
                    self.autoencoder.stft(real), self.autoencoder.stft(fake))
                decoder_loss += X("PHASE") * terms["phase"]
            targets = {}
            terms["adversarial"] = tf.constant(0.0)
            d = dict.fromkeys(["hinge", "real_logit", "fake_logit"], tf.constant(0.0))
            if with_adversary:
                views = self._discriminator_view(tf.concat([reference, fake], axis=0))
                real_logits, fake_logits = tf.split(self.discriminator(views), 2)
                terms["adversarial"] = losses.hinge_generator_loss(fake_logits)
                decoder_loss += X("ADV", 1.0) * terms["adversarial"]
                if X("FM"):
                    features = self.features(views)
                    fm = tf.add_n([losses.l1(*tf.split(f, 2)) for f in features]) / len(features)
                    decoder_loss += X("FM") * fm
                discriminator_loss = losses.hinge_discriminator_loss(real_logits, fake_logits)
                targets["discriminator"] = self.target(discriminator_loss)
                d = {"hinge": discriminator_loss, "real_logit": tf.reduce_mean(real_logits), "fake_logit": tf.reduce_mean(fake_logits)}
            targets["decoder"] = self.target(decoder_loss)
        gradients = {
            name: tape.gradient(target, self.trained[name]) for name, target in targets.items()
        }
        if not with_adversary:
            gradients["discriminator"] = [tf.zeros_like(v) for v in self.trained["discriminator"]]
        return gradients, {f"decoder/{name}": value for name, value in terms.items()} | {
            f"discriminator/{k}": v for k, v in d.items()
        }

    # Held-out figures and samples

    def _held_out_pairs(self) -> np.ndarray:
        """The held-out excerpts cut into training-sized pairs."""
        audio = self.config.audio
        hop, length = N_EXCERPTS * audio.excerpt_n_samples, audio.pair_n_samples
        starts = range(0, self._held_out.shape[1] - length + 1, hop)
        return np.concatenate([self._held_out[:, start : start + length] for start in starts])

    def _held_out_figures(self, waveforms: tf.Tensor) -> dict[str, tf.Tensor]:
        log_magnitudes = self.autoencoder.log_spectrogram(waveforms)
        level1_latents = self.autoencoder.encode1(log_magnitudes)
        decoded, directions = self._decode(level1_latents, self.level, self.autoencoder)
        figures = {"held_out/log_magnitude_l1": losses.l1(log_magnitudes, decoded)}
        if self.phase == 2:
            real, fake = self._complete(waveforms), self._waveform(decoded, directions)
            figures["held_out/multi_scale"] = losses.multi_scale_spectral_distance(
                real, fake, self.config.audio.multi_scale_hop_sizes
            )
            figures["held_out/waveform_log_magnitude_l1"] = losses.l1(
                self.autoencoder.log_spectrogram(real), self.autoencoder.log_spectrogram(fake)
            )
        return figures

    def validate(self) -> dict[str, float]:
        """Figures on the held-out pairs; lower is better for all of them.

        Returns:
          held_out/log_magnitude_l1: of what decoder 1 gives, before phases.
          held_out/multi_scale: in phase 2, of the waveform.
          held_out/waveform_log_magnitude_l1: in phase 2, the L1 once more, but of the waveform's
            own spectrogram: where frames cancel each other in part, the decoder learns to ask for
            more than it wants, so that the first figure rises while the sound gets closer.
        """
        batches = np.array_split(
            pairs := self._held_out_pairs(), -(-len(pairs) // self.training.batch_size)
        )
        figures = [self._evaluate(batch) for batch in batches]
        weights = [len(batch) for batch in batches]
        return {
            name: float(np.average([figure[name] for figure in figures], weights=weights))
            for name in figures[0]
        }

    def diagnose(self, metrics: Mapping[str, float]) -> str | None:
        """Tells of a discriminator that wins."""
        if self.phase == 1:
            return None
        return won_diagnosis(metrics["discriminator/hinge"], "raise --multi_scale_weight")

    def sample(self) -> Samples:
        """Reconstructions of held-out excerpts; the originals are their references.

        Phase 1 has no phases: there the original's own are lent to the decoded magnitudes.
        """
        originals = self._held_out[:3]
        log_magnitudes = self.autoencoder.log_spectrogram(originals)
        decoded, directions = self._decode(
            self.autoencoder.encode1(log_magnitudes), self.level, self.autoencoder
        )
        if self.phase == 1:
            directions = self.autoencoder.directions(self.autoencoder.stft(originals))
        waveforms, references = {}, {}
        reconstructions = self._waveform(decoded, directions).numpy()
        for index, original in enumerate(self._complete(originals)):
            references[f"excerpt{index}/original"] = original[:, None]
            waveforms[f"excerpt{index}/reconstruction"] = reconstructions[index][:, None]
        return Samples(waveforms, self.config.audio.sample_rate_hz, references)
