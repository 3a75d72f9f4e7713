"""Starting the stages of a run: data and config checked, weights of the stage before taken over."""

from __future__ import annotations

import os
import pathlib

from musika_tf import datasets, encoding
from musika_tf.batches import LatentBatches, WaveformBatches
from musika_tf.conditioning.latent_labels import LatentSignals
from musika_tf.config import Config, TrainingConfig
from musika_tf.shards import Shards
from musika_tf.principal import install
from musika_tf.training import checkpoint, distribution, principal_fit, stages
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training.loop import LoopSettings, train

# Held-out waveforms that every validation uses.
N_HELD_OUT = 8
# Held-out latent sequences, 23.8 s each in the paper's sizes.
N_HELD_OUT_LATENTS = 32
# Of training data that hold fewer batches than this without repeating people are warned.
_FEW_N_BATCHES = 10


def train_autoencoder(
    *,
    run_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    config: Config,
    training: TrainingConfig,
    settings: LoopSettings,
    level: int,
    phase: int,
    init_from: str | os.PathLike | None = None,
    lower_to: str | os.PathLike | None = None,
    flags_text: str = "",
) -> int:
    """Trains one autoencoder stage, or goes on with it.

    Args:
      run_dir: run folder; made if missing.
      data_dir: waveform shards.
      config: the system; must be the one that the run was started with.
      training: how to train.
      settings: when to stop and to write.
      level, phase: 1 or 2.
      init_from: weights to begin a new run's stage with, see `stages.initial_checkpoint`.
      lower_to: train nothing, but write the step there, see `training/lowering.py`.
      flags_text: flags of the program, kept beside the checkpoints.

    Returns:
      The step reached.

    Raises:
      ValueError: shards, run and config do not fit together, or the stage before is missing.
    """
    stage = stages.autoencoder_stage(level, phase)
    shards = datasets.open_waveforms(data_dir, config)
    stages.check_config(run_dir, config)
    audio = config.audio
    folder = stages.stage_dir(run_dir, stage.name)
    initial = before = None
    # A stage that was begun goes on from its own weights.
    if not checkpoint.latest(folder):
        if init_from:
            initial = stages.initial_checkpoint(run_dir, stage.name, init_from, config)
        elif stage.needs:
            before = stages.checkpoint_of(run_dir, stage.needs)
    batches = WaveformBatches(shards, training.batch_size, audio.pair_n_samples, training.seed)
    trainer = AutoencoderTrainer(
        config=config,
        training=training,
        level=level,
        phase=phase,
        held_out=datasets.held_out_waveforms(shards, audio, N_HELD_OUT),
        n_steps=settings.n_steps,
    )
    if before:
        checkpoint.load_networks(before, trainer.inherited_networks())
    if initial:
        checkpoint.load_networks(initial, trainer.networks)
    if before or initial or phase == 1:
        trainer.begin()
    if phase == 1 and not initial and not checkpoint.latest(folder):
        if config.autoencoder.principal_path:
            found = principal_fit.fit(trainer.autoencoder, level, shards, folder)
            install(found, *(trainer.networks[f"{n}{level}"] for n in ("encoder", "decoder")))
            print(f"principal components: {100 * found.share:.1f} % of the variance")
    if distribution.is_chief():
        _tell_data(shards, audio.pair_n_samples, 1.0 / audio.sample_rate_hz, training.batch_size)
        stages.begin(run_dir, stage.name, config, training, flags_text)
    return train(trainer, batches, settings, folder, lower_to)


def train_gan(
    *,
    run_dir: str | os.PathLike,
    latent_dir: str | os.PathLike,
    config: Config,
    training: TrainingConfig,
    settings: LoopSettings,
    autoencoder_dir: str | os.PathLike | None = None,
    init_from: str | os.PathLike | None = None,
    lower_to: str | os.PathLike | None = None,
    flags_text: str = "",
) -> int:
    """Trains the latent GAN, or goes on with it.

    Args:
      run_dir: run folder with a trained autoencoder.
      latent_dir: latent shards that this run's encoders made.
      config: the system; must be the one that the run was started with.
      training: how to train.
      settings: when to stop and to write.
      autoencoder_dir: another run whose autoencoder to take over; None: the run has its own.
      init_from: weights to begin a new run's GAN with, see `stages.initial_checkpoint`; they must
        have been trained on latents of the same encoders.
      lower_to: train nothing, but write the step there, see `training/lowering.py`.
      flags_text: flags of the program, kept beside the checkpoints.

    Returns:
      The step reached.

    Raises:
      ValueError: latents, run and config do not fit together, or a stage before is missing.
    """
    stages.check_config(run_dir, config)
    source = stages.autoencoder_source(run_dir, autoencoder_dir, config)
    codec = encoding.FileCodec(encoding.load_autoencoder(source))
    fingerprint = stages.encoder_fingerprint(source)
    shards = datasets.open_latents(latent_dir, config, fingerprint)
    if source == run_dir:
        stages.require_encoder(run_dir)
    folder = stages.stage_dir(run_dir, "gan")
    initial = None
    if init_from and not checkpoint.latest(folder):
        initial = stages.initial_checkpoint(run_dir, "gan", init_from, config)
        stages.require_same_encoder(initial, fingerprint)
    trainer, batches = _gan_parts(shards, config, training, codec)
    if initial:
        _begin_with(initial, trainer)
    if distribution.is_chief():
        seconds_per_row = config.latent_hop_size / config.audio.sample_rate_hz
        _tell_data(shards, 2 * config.gan.seq_len, seconds_per_row, training.batch_size)
        _tell_limited(batches.signals, config)
        stages.begin(run_dir, "gan", config, training, flags_text)
        if source != run_dir:
            stages.adopt_autoencoder(run_dir, source)
        (folder / stages.ENCODER_FILE).write_text(fingerprint)
    return train(trainer, batches, settings, folder, lower_to)


def _begin_with(initial: pathlib.Path, trainer: GanTrainer) -> None:
    """Gives a GAN the weights of another; of released ones the average is all there is."""
    networks = dict(trainer.networks)
    if "generator" not in checkpoint.network_names(initial):
        del networks["generator"]
    checkpoint.load_networks(initial, networks)
    if "generator" not in networks:
        trainer.generator.set_weights(trainer.generator_average.get_weights())


def _gan_parts(
    shards: Shards, config: Config, training: TrainingConfig, codec: encoding.FileCodec
) -> tuple[GanTrainer, LatentBatches]:
    crop_n_latents = 2 * config.gan.seq_len
    batches = LatentBatches(
        shards, training.batch_size, crop_n_latents, training.seed, config.conditioning
    )
    held_out = shards.fixed_positions(N_HELD_OUT_LATENTS, crop_n_latents)
    trainer = GanTrainer(
        config=config,
        training=training,
        held_out=shards.crops(held_out, crop_n_latents),
        held_out_conditioning=batches.signals and batches.signals.crops(held_out, crop_n_latents),
        decode=lambda latents: codec.decode(latents[0])[None],
    )
    return trainer, batches


def _tell_limited(signals: LatentSignals | None, config: Config) -> None:
    """Says how many labels are out of their signal's range."""
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
            "lower --batch_size, or raise --r1_weight for the GAN"
        )
    n_sources, n_rows = shards.too_short(crop_n_rows)
    if n_sources:
        print(
            f"{n_sources} training sources, {n_rows * seconds_per_row / 3600:.2f} h, are shorter "
            f"than a training example, {crop_n_rows * seconds_per_row:.1f} s, and are not used"
        )
