"""Stages of a run: order, what is missing, config checks."""

import dataclasses

import numpy as np
import pytest

from musika_tf import audio, datasets
from musika_tf.shards import ShardWriter
from musika_tf.training import checkpoint, runs, stages
from musika_tf.training.loop import LoopSettings


@pytest.fixture
def data_dir(tmp_path, tiny_config):
    rng = np.random.default_rng(0)
    metadata = datasets.waveform_metadata(tiny_config.audio)
    with ShardWriter(tmp_path / "data", 2, np.int16, metadata) as writer:
        for split in ("train", "validation"):
            samples = audio.to_int16(rng.normal(size=(200_000, 2)) * 0.1)
            writer.add(f"{split}.wav", samples, split)
    return tmp_path / "data"


def train(tmp_path, data_dir, config, training, level, phase, n_steps=2):
    return runs.train_autoencoder(
        run_dir=tmp_path / "run",
        data_dir=data_dir,
        config=config,
        training=training,
        settings=LoopSettings(n_steps=n_steps),
        level=level,
        phase=phase,
    )


def arrays(tmp_path, stage, network):
    path = stages.checkpoint_of(tmp_path / "run", stage)
    found = checkpoint._read(path)
    return {k: v for k, v in found.items() if k.startswith(f"networks/{network}/")}


def test_every_stage_needs_the_one_before(tmp_path, data_dir, tiny_config, tiny_training):
    args = tmp_path, data_dir, tiny_config, tiny_training
    for level, phase, command in (
        (1, 2, "--level=1 --phase=1"),
        (2, 1, "--level=1 --phase=2"),
        (2, 2, "--level=2 --phase=1"),
    ):
        with pytest.raises(ValueError, match=f"musika-train-autoencoder {command}"):
            train(*args, level, phase)


def test_weights_go_from_stage_to_stage(tmp_path, data_dir, tiny_config, tiny_training):
    args = tmp_path, data_dir, tiny_config, tiny_training
    for level, phase in ((1, 1), (1, 2), (2, 1), (2, 2)):
        assert train(*args, level, phase) == 2

    def same(network, stage, other):
        a, b = arrays(tmp_path, stage, network), arrays(tmp_path, other, network)
        assert a and a.keys() == b.keys()
        return all(np.array_equal(a[name], b[name]) for name in a)

    # The encoders stay as phase 1 left them, level 1 as its phase 2 left it: to the last bit.
    assert same("encoder1", "level1_phase1", "level1_phase2")
    assert not same("decoder1", "level1_phase1", "level1_phase2")
    for network in ("encoder1", "decoder1"):
        assert same(network, "level1_phase2", "level2_phase1")
        assert same(network, "level1_phase2", "level2_phase2")
    assert same("encoder2", "level2_phase1", "level2_phase2")
    assert not same("decoder2", "level2_phase1", "level2_phase2")
    newest = stages.autoencoder_checkpoint(tmp_path / "run")
    assert newest.parent.name == "level2_phase2"


def test_resuming_a_stage_goes_on_from_its_own_weights(
    tmp_path, data_dir, tiny_config, tiny_training
):
    args = tmp_path, data_dir, tiny_config, tiny_training
    train(*args, 1, 1)
    train(*args, 1, 2)
    first = arrays(tmp_path, "level1_phase2", "decoder1")
    assert train(*args, 1, 2, n_steps=3) == 3
    resumed = arrays(tmp_path, "level1_phase2", "decoder1")
    inherited = arrays(tmp_path, "level1_phase1", "decoder1")
    for name in first:
        if name.endswith("kernel"):
            moved = np.abs(resumed[name] - first[name]).max()
            assert 0 < moved < np.abs(resumed[name] - inherited[name]).max()


def test_a_run_keeps_its_config(tmp_path, tiny_config):
    stages.bind_config(tmp_path, tiny_config)
    stages.bind_config(tmp_path, tiny_config)
    assert stages.saved_config(tmp_path) == tiny_config
    gan = dataclasses.replace(tiny_config.gan, style_depth=8)
    with pytest.raises(ValueError, match="gan.style_depth is 8 in the command line and 16 in"):
        stages.bind_config(tmp_path, dataclasses.replace(tiny_config, gan=gan))


def test_an_autoencoder_serves_another_run(tmp_path, data_dir, tiny_config, tiny_training):
    args = tmp_path, data_dir, tiny_config, tiny_training
    for level, phase in ((1, 1), (1, 2), (2, 1)):
        train(*args, level, phase)
    gan = dataclasses.replace(tiny_config.gan, style_depth=8)
    stages.bind_config(tmp_path / "other", dataclasses.replace(tiny_config, gan=gan))
    for _ in range(2):  # again is no mistake
        stages.adopt_autoencoder(tmp_path / "other", tmp_path / "run")
    copied = stages.autoencoder_checkpoint(tmp_path / "other")
    original = stages.autoencoder_checkpoint(tmp_path / "run")
    assert copied.read_bytes() == original.read_bytes()
    train(*args, 2, 1, n_steps=3)
    with pytest.raises(ValueError, match="has an autoencoder of its own"):
        stages.adopt_autoencoder(tmp_path / "other", tmp_path / "run")
    sizes = dataclasses.replace(tiny_config.autoencoder, level2_encoder_widths=(8, 8))
    stages.bind_config(tmp_path / "third", dataclasses.replace(tiny_config, autoencoder=sizes))
    with pytest.raises(ValueError, match="level2_encoder_widths is"):
        stages.adopt_autoencoder(tmp_path / "third", tmp_path / "run")
