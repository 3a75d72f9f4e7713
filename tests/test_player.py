"""The player: what can be opened, and that a run plays what its export plays."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from musika_tf.player import find_version, open_player


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


def test_model_without_or_with_foreign_metadata(tiny_model, tmp_path):
    path = shutil.copytree(tiny_model, tmp_path / "1") / "metadata.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 99', 1))
    with pytest.raises(ValueError, match="format 99"):
        open_player(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"no metadata\.json"):
        open_player(tmp_path)


def test_a_model_exported_with_a_config_of_version_1(tiny_model, tmp_path):
    path = shutil.copytree(tiny_model, tmp_path / "1") / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["config"] |= {"version": 1}
    del metadata["config"]["conditioning"]
    path.write_text(json.dumps(metadata))
    assert open_player(tmp_path).config == open_player(tiny_model).config


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
