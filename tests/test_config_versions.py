"""Earlier versions of a config: runs, shards and trainings that say less, or say it otherwise."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from random_model import save_random_run

from musika_tf.config import Config
from musika_tf.config_versions import CONFIG_VERSION, upgraded
from musika_tf.data import datasets
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.player import open_player
from musika_tf.runs.run import CONFIG_FILE, TRAINING_FILE, Run
from musika_tf.training_config import TrainingConfig

# As the first release wrote them, of the tiny system.
AUDIO = """{
  "sample_rate_hz": 22050, "window_size": 1024, "hop_size": 256, "excerpt_n_frames": 64
}"""
AUTOENCODER = """{
  "level1_latent_depth": 16, "level1_encoder_widths": [32, 32],
  "level1_decoder_widths": [32, 32], "level1_decoder_head_width": 32,
  "level2_latent_depth": 16, "level2_strides": [4, 4], "level2_encoder_widths": [32, 32],
  "level2_decoder_widths": [32, 32, 32], "spectral_discriminator_widths": [16, 16, 16]
}"""
GAN = """{
  "anchor_depth": 16, "style_depth": 16, "seq_len": 16,
  "generator_widths": [64, 32, 32, 32], "latent_discriminator_widths": [16, 32, 32]
}"""
CONFIG = f'{{"version": 1, "audio": {AUDIO}, "autoencoder": {AUTOENCODER}, "gan": {GAN}}}'
# What versions before the third do not say of a GAN.
EARLIER_GAN = {"normalisation": "patch", "dense_logit": False, "mid_side": False}
TRAINING = """{
  "batch_size": 8, "level1_n_steps": 300, "level2_n_steps": 200, "gan_n_steps": 100,
  "learning_rate": 0.0003, "adam_beta_1": 0.4, "reconstruction_weight": 2.0,
  "multi_scale_weight": 3.0, "r1_weight": 5.0, "told_weight": 2.5, "average_decay": 0.99,
  "seed": 3, "precision": "float32"
}"""


@pytest.fixture
def first_config(tiny_config) -> Config:
    """The tiny system as the first release knew it."""
    sizes = dataclasses.replace(
        tiny_config.autoencoder, principal_path=False, consistency_n_steps=0
    )
    gan = dataclasses.replace(tiny_config.gan, **EARLIER_GAN)
    return dataclasses.replace(tiny_config, autoencoder=sizes, gan=gan)


def test_what_a_version_1_does_not_say_is_as_it_was(first_config):
    assert Config.from_json(CONFIG) == first_config
    assert json.loads(first_config.to_json())["version"] == CONFIG_VERSION == 5
    said = CONFIG.replace('"level1_latent_depth"', '"principal_path": true, "level1_latent_depth"')
    assert Config.from_json(said).autoencoder.principal_path


def test_what_a_version_2_does_not_say_is_as_it_was(tiny_config):
    """Of a system that it said everything else of."""
    gan = dataclasses.replace(tiny_config.gan, **EARLIER_GAN)
    before = dataclasses.replace(tiny_config, gan=gan)
    values = json.loads(before.to_json()) | {"version": 2}
    for name in EARLIER_GAN:
        del values["gan"][name]
    assert Config.from_json(json.dumps(values)) == before
    values["version"] = CONFIG_VERSION
    assert Config.from_json(json.dumps(values)) == tiny_config


def test_a_version_1_run_plays(tmp_path, first_config):
    saved = save_random_run(tmp_path, first_config)
    (tmp_path / CONFIG_FILE).write_text(CONFIG)
    player = open_player(tmp_path)
    assert player.config == first_config
    assert player.metadata["weights_sha256"] == saved.weights_sha256()
    (music,) = player.stream((1, 0), 2.0, n_samples=first_config.audio.excerpt_n_samples)
    assert np.isfinite(music).all() and music.std() > 0.0


def test_a_version_1_training_goes_on_as_it_began(tmp_path):
    (tmp_path / TRAINING_FILE).write_text(TRAINING)
    assert Run(tmp_path).saved_training == TrainingConfig(
        batch_size=8,
        level1_n_steps=300,
        level2_n_steps=200,
        gan_n_steps=100,
        learning_rate=3e-4,
        final_learning_rate_share=1.0,
        adam_beta_1=0.4,
        reconstruction_weight=2.0,
        multi_scale_weight=3.0,
        adversarial_start_share=0.0,
        adversarial_period=1,
        spliced_weight=0.0,
        # 5 of the sum of 8 logits, in every step.
        r1_gamma=320.0,
        r1_period=1,
        r1_gamma_least_share=1.0,
        conditioning_weight=2.5,
        average_decay=0.99,
        seed=3,
    )


def test_version_1_latents_belong_to_a_version_1_run(tmp_path, tiny_config, first_config):
    metadata = {
        "kind": "latents",
        "audio": json.loads(AUDIO),
        "autoencoder": json.loads(AUTOENCODER),
        "encoder_fingerprint": "ab",
        "n_samples": {"a.ogg": 65_536},
    }
    with ShardWriter(tmp_path / "latents", 32, np.float16, metadata) as writer:
        writer.add("a.ogg", np.zeros((16, 32), np.float16), "train")
    shards = datasets.open_latents(tmp_path / "latents", first_config, "ab")
    assert shards.sources[0].n_rows == 16
    with pytest.raises(ValueError, match="principal_path is True in the run and False in"):
        datasets.open_latents(tmp_path / "latents", tiny_config, "ab")


def test_names_of_an_earlier_version_are_not_those_of_this_one():
    assert upgraded("TrainingConfig", {"told_weight": 1.0}, 4) == {"told_weight": 1.0}
    assert upgraded("TrainingConfig", {"told_weight": 1.0}, 3) == {
        "told_weight": 1.0,
        "spliced_weight": 0.0,
    }
    assert upgraded("AudioConfig", {"hop_size": 16}, 1) == {"hop_size": 16}
    assert upgraded("GanConfig", {"mid_side": True}, 4) == {"mid_side": True}
    assert upgraded("GanConfig", {"dense_logit": True}, 3) == {
        "dense_logit": True,
        "mid_side": False,
    }
    assert upgraded("GanConfig", {"seq_len": 16}, 2) == {"seq_len": 16, **EARLIER_GAN}
    assert upgraded("GanConfig", {"normalisation": "step"}, 2)["normalisation"] == "step"
    for version in (0, 6, None, "2"):
        with pytest.raises(ValueError, match=f"version {version}; this program reads versions 1 "):
            upgraded("GanConfig", {}, version)
