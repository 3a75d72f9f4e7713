"""One stage of autoencoder training: level 1 or 2, phase 1 or 2 (paper §3.1, §4.1)."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from musika_tf import losses, spectral, spectral_norm
from musika_tf.autoencoder import Autoencoder, build_discriminator
from musika_tf.config import Config, TrainingConfig
from musika_tf.training.trainer import Samples, Trainer, adam

# A training example is two adjacent excerpts, so that the discriminator sees where they meet.
N_EXCERPTS = 2


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
    ):
        keras.utils.set_random_seed(training.seed)
        self.config, self.training = config, training
        self.level, self.phase = level, phase
        self.autoencoder = Autoencoder(config, n_levels=level)
        self.networks = dict(self.autoencoder.networks)
        self.optimizers = {"decoder": adam(training, self._trained_variables())}
        if phase == 2:
            n_samples = N_EXCERPTS * config.audio.excerpt_n_samples - config.audio.overlap_size
            n_frames = spectral.n_frames_of(n_samples, *self._discriminator_stft)
            self.discriminator = build_discriminator(config, n_frames)
            self.networks["discriminator"] = self.discriminator
            weights = self.discriminator.trainable_variables
            self.optimizers["discriminator"] = adam(training, weights)
        self.state = {"step": tf.Variable(0, dtype=tf.int64, name="step")}
        self._held_out = np.asarray(held_out, np.float32)
        self._evaluate = tf.function(self._held_out_figures, autograph=False)

    @property
    def _discriminator_stft(self) -> tuple[int, int]:
        return self.config.audio.discriminator_window_size, self.config.audio.hop_size

    def _trained_variables(self) -> list[keras.Variable]:
        encoder, decoder = (self.networks[f"{name}{self.level}"] for name in ("encoder", "decoder"))
        if self.phase == 2:
            return decoder.trainable_variables
        variables = encoder.trainable_variables + decoder.trainable_variables
        unused = decoder.get_layer("phase").trainable_variables if self.level == 1 else []
        return [v for v in variables if not any(v is u for u in unused)]

    def inherited_networks(self) -> dict[str, keras.Model]:
        """Networks whose weights the stage before hands over: all but what this stage starts."""
        if self.phase == 2:
            new = ["discriminator"]
        else:
            new = ["encoder2", "decoder2"]
        return {name: network for name, network in self.networks.items() if name not in new}

    # Forward

    def _decode(self, level1_latents: tf.Tensor, level: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Level-1 latents through `level` levels: log magnitudes and phase directions."""
        if level == 2:
            latents = self.autoencoder.encode2(level1_latents)
            if self.phase == 2:
                latents = tf.stop_gradient(latents)
            level1_latents = self.autoencoder.decode2(latents)
        elif self.phase == 2:
            level1_latents = tf.stop_gradient(level1_latents)
        return self.autoencoder.decode1(level1_latents)

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

    def step(self, waveforms: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step on float32 [batch, pair_n_samples] in [-1, 1]."""
        log_magnitudes = self.autoencoder.log_spectrogram(waveforms)
        self.state["step"].assign_add(1)
        if self.phase == 1:
            return self._magnitude_step(log_magnitudes)
        return self._waveform_step(waveforms, log_magnitudes)

    def _magnitude_step(self, log_magnitudes: tf.Tensor) -> dict[str, tf.Tensor]:
        variables = self._trained_variables()
        with tf.GradientTape() as tape:
            decoded, _ = self._decode(self.autoencoder.encode1(log_magnitudes), self.level)
            loss = losses.l1(log_magnitudes, decoded)
        self.optimizers["decoder"].apply(tape.gradient(loss, variables), variables)
        return {"decoder/log_magnitude_l1": loss}

    def _waveform_step(self, waveforms, log_magnitudes) -> dict[str, tf.Tensor]:
        spectral_norm.update_all(self.discriminator)
        decoder_variables = self._trained_variables()
        discriminator_variables = self.discriminator.trainable_variables
        level1_latents = self.autoencoder.encode1(log_magnitudes)
        real = self._complete(waveforms)
        # Level 2 learns to be taken for level 1 alone (paper §4.1).
        reference = real if self.level == 1 else self._waveform(*self._decode(level1_latents, 1))
        with tf.GradientTape(persistent=True) as tape:
            decoded, directions = self._decode(level1_latents, self.level)
            fake = self._waveform(decoded, directions)
            views = self._discriminator_view(tf.concat([reference, fake], axis=0))
            real_logits, fake_logits = tf.split(self.discriminator(views), 2)
            terms = {
                "adversarial": losses.hinge_generator_loss(fake_logits),
                "log_magnitude_l1": losses.l1(log_magnitudes, decoded),
                "multi_scale": losses.multi_scale_spectral_distance(
                    real, fake, self.config.audio.multi_scale_hop_sizes
                ),
            }
            decoder_loss = (
                terms["adversarial"]
                + self.training.reconstruction_weight * terms["log_magnitude_l1"]
                + self.training.multi_scale_weight * terms["multi_scale"]
            )
            discriminator_loss = losses.hinge_discriminator_loss(real_logits, fake_logits)
        decoder_gradients = tape.gradient(decoder_loss, decoder_variables)
        discriminator_gradients = tape.gradient(discriminator_loss, discriminator_variables)
        self.optimizers["decoder"].apply(decoder_gradients, decoder_variables)
        self.optimizers["discriminator"].apply(discriminator_gradients, discriminator_variables)
        return {f"decoder/{name}": value for name, value in terms.items()} | {
            "discriminator/hinge": discriminator_loss,
            "discriminator/real_logit": tf.reduce_mean(real_logits),
            "discriminator/fake_logit": tf.reduce_mean(fake_logits),
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
        decoded, directions = self._decode(level1_latents, self.level)
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

    def sample(self) -> Samples:
        """Reconstructions of held-out excerpts; the originals are their references.

        Phase 1 has no phases: there the original's own are lent to the decoded magnitudes.
        """
        originals = self._held_out[:3]
        log_magnitudes = self.autoencoder.log_spectrogram(originals)
        decoded, directions = self._decode(self.autoencoder.encode1(log_magnitudes), self.level)
        if self.phase == 1:
            directions = self.autoencoder.directions(self.autoencoder.stft(originals))
        waveforms, references = {}, {}
        reconstructions = self._waveform(decoded, directions).numpy()
        for index, original in enumerate(self._complete(originals)):
            references[f"excerpt{index}/original"] = original[:, None]
            waveforms[f"excerpt{index}/reconstruction"] = reconstructions[index][:, None]
        return Samples(waveforms, self.config.audio.sample_rate_hz, references)
