"""Runs and exported models with random weights, and music for them: for tests of their uses."""

from __future__ import annotations

import pathlib

import keras
import numpy as np

from export import saved_model
from musika_tf import audio as audio_io
from musika_tf.config import AudioConfig, Config
from musika_tf.data import datasets
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.shards import Shards
from musika_tf.networks import gan
from musika_tf.networks.autoencoder import Autoencoder, build_decoder2
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.runs import checkpoint, release
from musika_tf.runs.run import Run
from musika_tf.training_config import TrainingConfig

RATE_HZ = 22_050


def random_autoencoder(config: Config) -> Autoencoder:
    """Random weights as harmless as trained ones, where it is about what rounding changes.

    Music is quieter than magnitudes around 1, and the phase directions of trained decoders have
    some length: the angle of next to nothing is chance.
    """
    autoencoder = Autoencoder(config)
    decoder = autoencoder.networks["decoder1"]
    for layer, value in (("magnitude", -0.5), ("phase", 1.0)):
        bias = decoder.get_layer(layer).bias
        bias.assign(keras.ops.full(bias.shape, value))
    return autoencoder


def save_random_run(run_dir, config, autoencoder_stage="level2_phase2") -> Synthesizer:
    """A run folder with random weights; returns what it should load as."""
    autoencoder = random_autoencoder(config)
    average = gan.build_generator(config, name="generator_average")
    other = gan.build_generator(config)
    Run(run_dir).begin("level1_phase1", config, TrainingConfig(), "")
    networks = dict(autoencoder.networks)
    if autoencoder_stage == "level2_phase2":
        networks["decoder2_learning"] = build_decoder2(config)
    save_networks(run_dir, autoencoder_stage, 7, networks)
    save_networks(run_dir, "gan", 9, {"generator": other, "generator_average": average})
    return Synthesizer(config, average, autoencoder)


def save_networks(run_dir, stage, step, networks):
    variables = {
        f"networks/{name}/{variable.path}": variable.value
        for name, network in networks.items()
        for variable in network.variables
    }
    checkpoint.save(Run(run_dir).stage_dir(stage), variables, step)


def export_random_run(folder: pathlib.Path, config: Config) -> pathlib.Path:
    """Saves a run to `folder`/run and exports it, unverified: `folder`/model/1."""
    keras.utils.set_random_seed(0)
    save_random_run(folder / "run", config)
    text = "# gan\n--seed=3\n--latent_dir=/home/me/latents\n"
    (folder / "run" / "gan" / "flags.txt").write_text(text)
    return saved_model.export(Run(folder / "run"), folder / "model", verify=False)


def released_random_run(folder: pathlib.Path, config: Config) -> pathlib.Path:
    """Saves a run to `folder`/run and releases its weights, which are float16 then."""
    keras.utils.set_random_seed(0)
    save_random_run(folder / "run", config)
    (folder / "card.md").write_text("# Random\n\nNoise, free for all.\n")
    return release.release(Run(folder / "run"), folder / "random", card=folder / "card.md")


def write_waveforms(folder, seconds=(7.0, 8.0)) -> Shards:
    """Shards with one source of each split: chords of decaying tones, different in each."""
    metadata = datasets.waveform_metadata(AudioConfig())
    with ShardWriter(folder, 2, np.int16, metadata) as writer:
        for index, split in enumerate(("validation", "train")):
            times = np.arange(round(seconds[index] * RATE_HZ)) / RATE_HZ
            rng = np.random.default_rng(index)
            decay = np.exp(-3 * (times % 0.5))
            tones = sum(np.sin(2 * np.pi * hz * times) for hz in rng.uniform(100, 2000, 4))
            noise = 0.01 * rng.normal(size=(len(times), 2))
            waveform = 0.1 * (tones * decay)[:, None] * [1.0, 0.8] + noise
            writer.add(f"{index}.wav", audio_io.to_int16(waveform), split)
    return Shards.open(folder)
