"""A conditional GAN from labelled audio: what is carried along, what is given, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from random_model import save_networks

from musika_tf import audio
from musika_tf.config import ConditioningConfig, Signal
from musika_tf.data import datasets, encoding
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.shards import Shards
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.runs.run import Run
from musika_tf.signals import KNOWN_SIGNALS
from musika_tf.training import stage
from musika_tf.training.loop import LoopSettings
from musika_tf.training_config import TrainingConfig

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_samples")]

TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")
TEMPOS_BPM = {"train.wav": 100.0, "validation.wav": 140.0, "free.wav": 120.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_config):
    """A run with an untrained autoencoder, labelled audio, and latents of it."""
    home = tmp_path_factory.mktemp("conditional")
    Run(home / "run").begin("level1_phase1", tiny_config, TrainingConfig(), "")
    save_networks(home / "run", "level2_phase1", 1, Autoencoder(tiny_config).networks)
    rng = np.random.default_rng(0)
    metadata = datasets.waveform_metadata(tiny_config.audio)
    with ShardWriter(home / "data", 2, np.int16, metadata) as writer:
        for name in TEMPOS_BPM:
            samples = audio.to_int16(rng.normal(size=(200_000, 2)) * 0.1)
            writer.add(name, samples, "validation" if "validation" in name else "train")
        rows = [f"{name},0,{tempo}\n" for name, tempo in TEMPOS_BPM.items()]
        writer.add_text("labels-tempo_bpm.csv", "file,time_seconds,value\n" + "".join(rows))
        times = rng.uniform(0, 9, 100)
        rows = [f"{name},{time:.4f}\n" for name in TEMPOS_BPM for time in times]
        clocks = "train.wav,0,0\ntrain.wav,60,100\nvalidation.wav,0,1\nvalidation.wav,60,141\n"
        text = f"file,time_seconds,value\n{clocks}free.wav,0,nan\n"
        writer.add_text("labels-beats.csv", text)
        writer.add_text("labels-note_density.csv", "file,time_seconds\n" + "".join(rows))
    encoding.encode_shards(Run(home / "run"), home / "data", home / "latents")
    return home


def conditioned(config, *signals, **values):
    return dataclasses.replace(config, conditioning=ConditioningConfig(signals, **values))


def start_gan(home, run_dir, config, training, latents="latents"):
    return stage.start_gan(
        run=Run(run_dir),
        latent_dir=home / latents,
        config=config,
        training=training,
        n_steps=2,
        adopted=Run(home / "run"),
    )


def test_labelled_audio_to_a_conditional_generator(
    home, tmp_path, tiny_config, tiny_training, capsys
):
    config = conditioned(tiny_config, KNOWN_SIGNALS["note_density"], TEMPO)
    started = start_gan(home, tmp_path / "run", config, tiny_training)
    assert started.train(LoopSettings(n_steps=2)) == 2
    n_latents = [source.n_rows for source in Shards.open(home / "latents").sources]
    assert (
        f"tempo_bpm is labelled outside 110 to 170 (beats per minute) at {n_latents[0]} of "
        f"{sum(n_latents)} latents, and is limited to that range there"
    ) in capsys.readouterr().out
    assert Run(tmp_path / "run").saved_config == config
    inputs = [x.name for x in Run(tmp_path / "run").synthesizer().generator.inputs]
    assert inputs == ["coordinates", "style", "conditioning", "start"]
    with pytest.raises(ValueError, match=r"conditioning\.signals is none in the command line and"):
        start_gan(home, tmp_path / "run", tiny_config, tiny_training)


def test_a_clock_is_trained_on_what_has_one(home, tmp_path, tiny_config, tiny_training, capsys):
    config = conditioned(tiny_config, KNOWN_SIGNALS["beats"], KNOWN_SIGNALS["note_density"])
    start_gan(home, tmp_path / "run", config, tiny_training)
    said = capsys.readouterr().out
    assert "1 sources have no value of beats or note_density, and are not used: free.wav" in said
    assert "beats is labelled outside" not in said


@pytest.mark.parametrize(
    ("signals", "values", "message"),
    [
        (
            (Signal("energy", "share", 0.0, 1.0, "step"),),
            {},
            "no label energy, only beats, note_density, tempo_bpm: .*--labels=energy=FILE.csv",
        ),
        (
            (KNOWN_SIGNALS["note_density"],),
            {"max_onsets_per_second": 12.0},
            "is 1 at 20 onsets per second, the run's at 12: encode again",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    home, tmp_path, tiny_config, tiny_training, signals, values, message
):
    config = conditioned(tiny_config, *signals, **values)
    with pytest.raises(ValueError, match=message):
        start_gan(home, tmp_path / "run", config, tiny_training)
    assert not (tmp_path / "run").exists()
