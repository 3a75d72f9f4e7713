"""The player: streams of one waveform, whatever plays them, and what can be opened."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from musika_tf.networks import coordinates
from musika_tf.player import find_version, open_player


@pytest.fixture(scope="module")
def model_dir(tiny_model) -> pathlib.Path:
    return tiny_model.parent


# Streams


def test_stream_is_the_waveform_of_one_call(player):
    """What lies between anchors that are far from both ends of the call."""
    gan, interval = player.config.gan, player.config.anchor_hop_size
    seed, truncation = tf.constant([[7, 0]]), tf.constant([2.0])
    exported = tf.saved_model.load(str(player.path))
    # The second anchor is where the piece begins.
    waveform = exported.signatures["serving_default"](
        anchors=coordinates.draw_anchors(seed, 0, 6, gan.anchor_depth, truncation),
        style=coordinates.draw_style(seed, gan.style_depth, truncation),
    )["waveform"][0]
    music = np.concatenate(list(player.stream((7, 0), 2.0, n_samples=3 * interval)))
    begun = player.config.audio.overlap_size
    expected = waveform[interval + begun : 4 * interval]
    np.testing.assert_allclose(music[begun:], expected, rtol=0, atol=1e-5)


# Finding the model


def test_newest_version_is_found(tmp_path):
    for name in ("9", "10", "11", "notes"):
        (tmp_path / name).mkdir()
    for name in ("9", "10"):
        (tmp_path / name / "saved_model.pb").touch()
    assert find_version(tmp_path).name == "10"
    assert find_version(tmp_path / "9").name == "9"


@pytest.mark.parametrize("name", ["", "missing"])
def test_folder_without_a_model(tmp_path, name):
    with pytest.raises(ValueError, match="musika-export"):
        open_player(tmp_path / name)


def test_model_without_or_with_foreign_metadata(model_dir, tmp_path):
    version = shutil.copytree(model_dir / "1", tmp_path / "1")
    path = version / "metadata.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 99', 1))
    with pytest.raises(ValueError, match="format 99"):
        open_player(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"no metadata\.json"):
        open_player(tmp_path)


def test_a_model_exported_with_a_config_of_version_1(model_dir, tmp_path):
    path = shutil.copytree(model_dir / "1", tmp_path / "1") / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["config"] |= {"version": 1}
    del metadata["config"]["conditioning"]
    path.write_text(json.dumps(metadata))
    assert open_player(tmp_path).config == open_player(model_dir).config


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_run_plays_what_its_export_plays(tiny_model, jit_compile):
    run_dir = tiny_model.parents[1] / "run"
    exported, of_run = open_player(tiny_model, jit_compile), open_player(run_dir, jit_compile)
    assert (exported.path, of_run.path) == (tiny_model, run_dir)
    n_samples = 3 * of_run.config.patch_n_samples
    plain = open_player(tiny_model.parent)
    expected = np.concatenate(list(plain.stream((3, 0), 2.0, n_samples=n_samples)))
    assert np.abs(expected).max() > 0.01
    for player in (exported, of_run):
        music = np.concatenate(list(player.stream((3, 0), 2.0, n_samples=n_samples)))
        np.testing.assert_allclose(music, expected, rtol=0, atol=1e-4)
    metadata = json.loads((tiny_model / "metadata.json").read_text())
    assert of_run.metadata["weights_sha256"] == metadata["weights_sha256"]
    assert of_run.metadata["training"] == metadata["training"]
