"""Starting a stage of a run: data and config checked, weights of the stage before taken over."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import numpy as np

from musika_tf.config import N_CHANNELS, Config
from musika_tf.data import datasets
from musika_tf.data.batches import LatentBatches, WaveformBatches
from musika_tf.data.latent_labels import LatentSignals
from musika_tf.data.shards import Shards
from musika_tf.networks import principal
from musika_tf.networks.codec import FileCodec
from musika_tf.runs import checkpoint
from musika_tf.runs.run import Run, require_same_encoder
from musika_tf.runs.stages import autoencoder_stage
from musika_tf.training import devices, principal_fit, warm_start
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training.loop import LoopSettings, train
from musika_tf.training.pipeline import Batches
from musika_tf.training.trainer import Trainer
from musika_tf.training_config import TrainingConfig

# Held-out waveforms that every validation uses.
N_HELD_OUT = 8
# Held-out latent sequences, 23.8 s each in the paper's sizes.
N_HELD_OUT_LATENTS = 32
# Of training data that hold fewer batches than this without repeating people are warned.
_FEW_N_BATCHES = 10
# Sources without a value of some signal that people are told of by name.
_MAX_N_NAMED = 20
# Of a channel of latents; where there is less, left and right count as unrelated.
_LEAST_VARIANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class StartedStage:
    """A stage before its next step; in `folder` its newest checkpoint lies if it was begun."""

    trainer: Trainer
    batches: Batches
    folder: pathlib.Path

    def train(self, settings: LoopSettings) -> int:
        """Trains the stage, or goes on with it, and returns the step reached; see `loop.train`."""
        return train(self.trainer, self.batches, settings, self.folder)


def start_autoencoder(
    *,
    run: Run,
    data_dir: str | os.PathLike,
    config: Config,
    training: TrainingConfig,
    level: int,
    phase: int,
    n_steps: int,
    init_from: str | os.PathLike | None = None,
    flags_text: str = "",
) -> StartedStage:
    """Starts one autoencoder stage, or takes it up where it stands.

    Args:
      run: made if missing.
      data_dir: waveform shards.
      config: must be the one that the run was started with.
      level, phase: 1 or 2.
      n_steps: length of the stage.
      init_from: weights to begin a new run's stage with, see `Run.initial_checkpoint`.
      flags_text: flags of the program, kept beside the checkpoints.

    Raises:
      ValueError: shards, run and config do not fit together, or the stage before is missing.
    """
    stage = autoencoder_stage(level, phase)
    shards = datasets.open_waveforms(data_dir, config)
    run.check_config(config)
    audio = config.audio
    folder = run.stage_dir(stage.name)
    initial = before = None
    # A stage that was begun goes on from its own weights.
    if not checkpoint.latest(folder):
        if init_from:
            initial = run.initial_checkpoint(stage.name, init_from, config)
        elif stage.needs:
            before = run.checkpoint(stage.needs)
    batches = WaveformBatches(shards, training.batch_size, audio.pair_n_samples, training.seed)
    trainer = AutoencoderTrainer(
        config=config,
        training=training,
        level=level,
        phase=phase,
        held_out=datasets.held_out_waveforms(shards, audio, N_HELD_OUT),
        n_steps=n_steps,
    )
    if before:
        trainer.begin_with(before, left_out=trainer.new_networks)
    if initial:
        trainer.begin_with(initial)
    if devices.is_chief():
        _tell_data(shards, audio.pair_n_samples, 1.0 / audio.sample_rate_hz, training.batch_size)
        run.begin(stage.name, config, training, flags_text)
    is_untrained = phase == 1 and not (initial or checkpoint.latest(folder))
    if is_untrained and config.autoencoder.principal_path:
        principal_fit.install(trainer.autoencoder, level, shards, folder)
    return StartedStage(trainer, batches, folder)


def start_gan(
    *,
    run: Run,
    latent_dir: str | os.PathLike,
    config: Config,
    training: TrainingConfig,
    n_steps: int,
    adopted: Run | None = None,
    init_from: str | os.PathLike | None = None,
    flags_text: str = "",
) -> StartedStage:
    """Starts the latent GAN, or takes it up where it stands.

    Args, besides those of `start_autoencoder`:
      run: with a trained autoencoder, or to adopt one.
      latent_dir: latent shards that this run's encoders made.
      adopted: another run whose autoencoder to take over; None: the run has its own.
      init_from: weights that were trained on latents of the same encoders; what they follow may
        differ.

    Raises:
      ValueError: latents, run and config do not fit together, or a stage before is missing.
    """
    run.check_config(config)
    config = config.as_trained
    source = run.autoencoder_source(adopted, config)
    codec = FileCodec(source.autoencoder())
    fingerprint = source.encoder_fingerprint()
    shards = datasets.open_latents(latent_dir, config, fingerprint)
    if source is run:
        run.require_encoder()
    folder = run.stage_dir("gan")
    initial = None
    if init_from and not checkpoint.latest(folder):
        initial = run.initial_checkpoint("gan", init_from, config)
        require_same_encoder(initial, fingerprint)
    trainer, batches = _gan_parts(shards, config, training, n_steps, codec)
    if initial:
        warm_start.begin_with(initial, trainer)
    elif config.gan.normalisation == "step" and not checkpoint.latest(folder):
        trainer.set_output_spread(*_spread(batches.shards))
    if devices.is_chief():
        seconds_per_row = config.latent_hop_size / config.audio.sample_rate_hz
        _tell_data(batches.shards, 2 * config.gan.seq_len, seconds_per_row, training.batch_size)
        if batches.signals:
            _tell_labels(batches.signals, config)
        run.begin("gan", config, training, flags_text)
        if source is not run:
            run.adopt_autoencoder(source)
        run.keep_encoder(fingerprint)
    return StartedStage(trainer, batches, folder)


def _spread(shards: Shards) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the artanh of training latents, what `gan.set_output_spread` takes, float32."""
    moments, depth = principal.Moments(shards.n_channels), shards.n_channels // N_CHANNELS
    for source in shards.split("train"):
        rows = principal.before_tanh(np.asarray(shards.rows(source), np.float64)).numpy()
        moments.add(rows)
    mean, squares = moments.total / moments.n_rows, moments.products / moments.n_rows
    # Music has no side: the same with left and right exchanged.
    other = np.roll(np.arange(shards.n_channels), depth)
    mean, squares = (mean + mean[other]) / 2, (squares + squares[np.ix_(other, other)]) / 2
    covariance = squares - np.outer(mean, mean)
    variance = np.maximum(covariance.diagonal(), 0.0)
    alike = covariance[:depth, depth:].diagonal() / np.maximum(variance[:depth], _LEAST_VARIANCE)
    return tuple(x.astype(np.float32) for x in (np.sqrt(variance), mean, np.clip(alike, -1.0, 1.0)))


def _gan_parts(
    shards: Shards, config: Config, training: TrainingConfig, n_steps: int, codec: FileCodec
) -> tuple[GanTrainer, LatentBatches]:
    crop_n_latents, context = 2 * config.gan.seq_len, config.gan.context_n_steps
    of_batches = training.batch_size, crop_n_latents, training.seed, config.conditioning, context
    batches = LatentBatches(shards, *of_batches)
    held_out = batches.shards.fixed_positions(N_HELD_OUT_LATENTS, crop_n_latents)
    trainer = GanTrainer(
        config=config,
        training=training,
        held_out=shards.crops(held_out, crop_n_latents),
        held_out_conditioning=batches.signals
        and batches.signals.crops(held_out, crop_n_latents, context),
        decode=lambda latents: codec.decode(latents[0])[None],
        n_steps=n_steps,
    )
    return trainer, batches


def _tell_labels(signals: LatentSignals, config: Config) -> None:
    """Says which sources are left out and how many labels are out of their signal's range."""
    unknown = signals.unknown
    if unknown:
        named = ", ".join(unknown[:_MAX_N_NAMED]) + (", …" if len(unknown) > _MAX_N_NAMED else "")
        names = " or ".join(config.conditioning.names)
        print(f"{len(unknown)} sources have no value of {names}, and are not used: {named}")
    for signal in config.conditioning.signals:
        n_limited = signals.n_limited[signal.name]
        if n_limited:
            print(
                f"{signal.name} is labelled outside {signal.range_text} at {n_limited} of "
                f"{signals.n_latents} latents, and is limited to that range there"
            )


def _tell_data(shards: Shards, crop_n_rows: int, seconds_per_row: float, batch_size: int) -> None:
    """Says what part of the training data is too short to be learnt from, and if it is little."""
    n_examples = sum(source.n_rows // crop_n_rows for source in shards.split("train"))
    if n_examples < _FEW_N_BATCHES * batch_size:
        print(
            f"the training data hold {n_examples} examples of {crop_n_rows * seconds_per_row:.1f} "
            f"s, and a step takes {batch_size}: networks will know them by heart soon; add audio, "
            "lower --batch_size, or raise --r1_gamma for the GAN"
        )
    n_sources, n_rows = shards.too_short(crop_n_rows)
    if n_sources:
        print(
            f"{n_sources} training sources, {n_rows * seconds_per_row / 3600:.2f} h, are shorter "
            f"than a training example, {crop_n_rows * seconds_per_row:.1f} s, and are not used"
        )
