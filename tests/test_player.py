"""The player: streams of one waveform, whatever plays them, and what can be opened."""

from __future__ import annotations

import itertools
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
    n_samples = 4 * player.config.patch_n_samples
    chunks = list(player.stream((7, 0), 2.0, n_samples=n_samples))
    seed, truncation = tf.constant([[7, 0]]), tf.constant([2.0])
    gan = player.config.gan
    exported = tf.saved_model.load(str(player.path))
    waveform = exported.signatures["serving_default"](
        anchors=coordinates.draw_anchors(seed, 0, 3, gan.anchor_depth, truncation),
        style=coordinates.draw_style(seed, gan.style_depth, truncation),
    )["waveform"]
    np.testing.assert_allclose(np.concatenate(chunks), waveform[0], rtol=0, atol=1e-5)


def test_stream_begins_with_one_excerpt_and_then_doubles(player):
    lengths = [len(chunk) for chunk in itertools.islice(player.stream((7, 0), 2.0), 5)]
    excerpt, between_anchors = player.config.audio.excerpt_n_samples, player.config.anchor_hop_size
    assert lengths[:3] == [excerpt, 2 * excerpt, between_anchors - 3 * excerpt]
    assert lengths[3:] == [between_anchors, between_anchors]


@pytest.mark.parametrize("n_samples", [1, 16_384, 16_385, 100_000])
def test_stream_ends_where_it_shall(player, n_samples):
    whole = np.concatenate(list(player.stream((7, 0), 2.0, n_samples=200_000)))
    piece = np.concatenate(list(player.stream((7, 0), 2.0, n_samples=n_samples)))
    np.testing.assert_array_equal(piece, whole[:n_samples])


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
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 99', 1))
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
