"""A line of coordinates, style, conditioning → stereo waveform (paper §3.2, figure 2).

    coordinates ──┐
    style         ├─generator─► latents ─both decoders─► waveform
    conditioning ─┘
     all at once, or window after window                 all at once, or chunk after chunk

The generator makes a window of any length in one pass, which is what makes Musika fast. Decoders
and inverse STFT then take a patch or two of every row at a time, because what they compute on the
way takes about ten times the memory of the waveform; they hand on the samples in which neighbours
overlap. Doing the same from outside, window after window and chunk after chunk through `latents`
and `decode`, therefore gives the same waveform.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from musika_tf.conditioning import timeline
from musika_tf.config import N_CHANNELS, Config
from musika_tf.networks import coordinates, gan
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.networks.fingerprint import sha256


class Synthesizer:
    """The trained parts that make sound: generator, decoders of both levels, inverse STFT.

    Every method is a function of its arguments and the weights alone, row by row, and can be traced
    with a batch size, number of anchors and number of latents that are known only when it runs.
    Networks that are not given are new ones.
    """

    def __init__(
        self,
        config: Config,
        generator: keras.Model | None = None,
        autoencoder: Autoencoder | None = None,
    ):
        self.config = config
        self.generator = generator or gan.build_generator(config)
        self.autoencoder = autoencoder or Autoencoder(config)

    @property
    def networks(self) -> dict[str, keras.Model]:
        """The networks that synthesis uses, by name; the encoders are not among them."""
        decoders = {name: self.autoencoder.networks[name] for name in ("decoder2", "decoder1")}
        return {"generator": self.generator, **decoders}

    @property
    def precision(self) -> str:
        """What the decoders compute in."""
        return self.networks["decoder1"].dtype_policy.compute_dtype

    def weights_sha256(self) -> str:
        """SHA-256 over all weights, under the names `<network>/<layer>/<variable>`."""
        weights = {
            f"{name}/{variable.path}": variable.numpy()
            for name, network in self.networks.items()
            for variable in network.weights
        }
        return sha256(weights)

    def latents(
        self,
        coordinates: tf.Tensor,
        style: tf.Tensor,
        start: tf.Tensor,
        conditioning: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Latents of a window on the line of each row.

        Each input begins `gan.context_n_steps` before the window and ends as many after it.

        Args:
          coordinates: float32 [B, n + 2·context, anchor_depth], n a multiple of
            `gan.coarsest_n_steps`.
          style: float32 [B, n + 2·context, style_depth].
          start: int32 [B], the first step of the window, a multiple of `gan.coarsest_n_steps`.
          conditioning: float32 [B, n + 2·context, n_signals] in user units; None: it is
            unconditional.

        Returns:
          float32 [B, n, stereo_latent_depth] in (-1, 1).
        """
        return gan.latents(self.config, self.generator, coordinates, style, conditioning, start)

    def decode(self, latents: tf.Tensor, overlap: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What `Autoencoder.decode` makes of whole excerpts, limited to [-1, 1].

        float32 [B, k, stereo_latent_depth], k a multiple of excerpt_n_latents, and overlap
        [B, overlap_size, 2] → waveform [B, k·latent_hop_size, 2] and overlap for the next chunk,
        which is not limited: it is only a part of the sum.
        """
        waveform, next_overlap = self.autoencoder.decode(latents, overlap)
        overlap_shape = [None, self.config.audio.overlap_size, N_CHANNELS]
        return (
            tf.clip_by_value(waveform, -1.0, 1.0),
            # As long as the one given, which tracing cannot know.
            tf.ensure_shape(next_overlap, overlap_shape),
        )

    def no_overlap(self, batch_size: int | tf.Tensor) -> tf.Tensor:
        """The overlap before the first chunk, [batch_size, overlap_size, 2]."""
        return tf.zeros([batch_size, self.config.audio.overlap_size, N_CHANNELS])

    def waveform(
        self, anchors: tf.Tensor, style: tf.Tensor, conditioning: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The waveform from the first anchor to the last.

        Args:
          anchors: float32 [B, A, anchor_depth], A ≥ 2.
          style: float32 [B, style_depth], one for the whole piece.
          conditioning: float32 [B, (A-1)·2·seq_len, n_signals] in user units, a value a latent;
            None: the system is unconditional. Beyond both ends the generator sees the last value
            before them, and a clock that goes on.

        Returns:
          float32 [B, (A-1)·anchor_hop_size, 2] in [-1, 1]; the first overlap_size samples fade in.
        """
        sizes = self.config.gan
        n_steps = (tf.shape(anchors)[1] - 1) * 2 * sizes.seq_len + 2 * sizes.context_n_steps
        line = coordinates.line(sizes, anchors, -sizes.context_n_steps, n_steps)
        if conditioning is not None:
            conditioning = self._with_ends(conditioning)
        return self._decode_in_turn(self._latents_from_0(line, style, conditioning))

    def generate(
        self,
        seed: tf.Tensor,
        seconds: tf.Tensor,
        truncation: tf.Tensor,
        constants: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The pieces that belong to seeds; those of `Player.stream` with constants.

        Args:
          seed: int32 [B, 2].
          seconds: float32 [B], above 0.
          truncation: float32 [B], above 0; see `coordinates.truncated_normal`.
          constants: float32 [B, n_signals] in the units of `conditioning.asked`: signals held for
            the whole piece, and of a clock its tempo; None: the system is unconditional.

        Returns:
          The waveform float32 [B, n, 2] in [-1, 1], as long as the longest row and silent after the
          end of the others, and int32 [B]: the samples of each row, seconds·rate rounded.
        """
        latents, n_samples = self.generate_latents(seed, seconds, truncation, constants)
        longest = tf.reduce_max(n_samples)
        waveform = self._decode_in_turn(latents)[:, :longest]
        is_inside = tf.sequence_mask(n_samples, longest)[..., tf.newaxis]
        return tf.where(is_inside, waveform, 0.0), n_samples

    def generate_latents(
        self,
        seed: tf.Tensor,
        seconds: tf.Tensor,
        truncation: tf.Tensor,
        constants: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The latents that `generate` decodes, with the same arguments.

        Returns:
          float32 [B, n, stereo_latent_depth] in (-1, 1), whole windows that cover the longest
          row, and int32 [B]: the samples of each row, seconds·rate rounded.
        """
        config, sizes = self.config, self.config.gan
        # Products of float32 are whole samples only up to 2^24, which is six minutes at 44.1 kHz.
        exact_n_samples = tf.cast(seconds, tf.float64) * config.audio.sample_rate_hz
        n_samples = tf.maximum(1, tf.cast(tf.round(exact_n_samples), tf.int32))
        window = config.window_n_latents
        n_windows = -(-tf.reduce_max(n_samples) // (window * config.latent_hop_size))
        start, n_steps = -sizes.context_n_steps, n_windows * window + 2 * sizes.context_n_steps
        line = coordinates.draw_line(sizes, seed, start, n_steps, truncation)
        style = coordinates.draw_style(seed, sizes.style_depth, truncation)
        conditioning = None if constants is None else self._held(constants, start, n_steps)
        return self._latents_from_0(line, style, conditioning), n_samples

    def _latents_from_0(
        self, line: tf.Tensor, style: tf.Tensor, conditioning: tf.Tensor | None
    ) -> tf.Tensor:
        """Of a window from step 0 on, in a style [B, style_depth] that stays."""
        batch_size, n_steps = tf.unstack(tf.shape(line)[:2])
        styles = tf.repeat(style[:, tf.newaxis], n_steps, axis=1)
        return self.latents(line, styles, tf.zeros([batch_size], tf.int32), conditioning)

    def _with_ends(self, conditioning: tf.Tensor) -> tf.Tensor:
        """Conditioning [B, n, C] with its context: what is at the ends is held, clocks go on."""
        n_steps = self.config.gan.context_n_steps
        is_clock = [float(signal.is_clock) for signal in self.config.conditioning.signals]
        # In float32 a clock of many beats would lose its phase on the way.
        values = tf.cast(conditioning, tf.float64)
        steps = tf.range(1, n_steps + 1, dtype=tf.float64)[:, tf.newaxis] * is_clock
        first, last = values[:, :1], values[:, -1:]
        before = first + (first - values[:, 1:2]) * steps[::-1]
        after = last + (last - values[:, -2:-1]) * steps
        return tf.cast(tf.concat([before, values, after], axis=1), tf.float32)

    def _held(self, constants: tf.Tensor, start: int, n_steps: tf.Tensor) -> tf.Tensor:
        """Conditioning [B, n_steps, C] from step `start` on, of constants [B, C]."""
        config, columns = self.config, []
        first = timeline.centres_seconds(config, start, 1)
        step_seconds = config.latent_hop_size / config.audio.sample_rate_hz
        minutes = (first + tf.range(n_steps, dtype=tf.float64) * step_seconds) / 60.0
        for signal, value in zip(
            config.conditioning.signals, tf.unstack(constants[:, tf.newaxis], axis=-1), strict=True
        ):
            if signal.is_clock:
                beats = tf.cast(value, tf.float64) * minutes
                value = tf.cast(beats % signal.maximum, tf.float32)
            columns.append(tf.broadcast_to(value, [tf.shape(constants)[0], n_steps]))
        return tf.stack(columns, axis=-1)

    def _decode_in_turn(self, latents: tf.Tensor) -> tf.Tensor:
        """Latents [B, n, stereo_latent_depth] → waveform [B, n·latent_hop_size, 2]."""
        batch_size, n_latents = tf.unstack(tf.shape(latents)[:2])
        # Of one row alone two patches fill the cores better than one, by 6 %; more do not.
        step = self.config.gan.seq_len * tf.where(batch_size == 1, 2, 1)
        n_steps = -(-n_latents // step)

        def decode_chunk(index, overlap, chunks):
            chunk = latents[:, index * step : (index + 1) * step]
            waveform, overlap = self.decode(chunk, overlap)
            # Time before batch, which is how chunks of different lengths can be joined.
            return index + 1, overlap, chunks.write(index, tf.transpose(waveform, [1, 0, 2]))

        overlap_shape = tf.TensorShape([None, self.config.audio.overlap_size, N_CHANNELS])
        empty = tf.TensorArray(
            tf.float32, n_steps, infer_shape=False, element_shape=[None, None, N_CHANNELS]
        )
        *_, chunks = tf.while_loop(
            lambda index, *_: index < n_steps,
            decode_chunk,
            (0, self.no_overlap(batch_size), empty),
            shape_invariants=(tf.TensorShape([]), overlap_shape, None),
            # Chunks decoded side by side would need the memory that decoding in turn saves.
            parallel_iterations=1,
        )
        return tf.transpose(chunks.concat(), [1, 0, 2])
