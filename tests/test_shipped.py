"""Weights by name, from any folder."""

from __future__ import annotations

import pathlib

import pytest
from random_model import released_random_run

from musika_tf.player import open_player
from musika_tf.runs import shipped

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_names_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.find("piano") == ROOT / "weights" / "piano"
    assert {"orchestral", "piano", "techno"} <= set(shipped.playable()) < set(shipped.weights())
    assert open_player("piano").path == ROOT / "weights" / "piano"
    # A folder here goes before; a path is a path, there or not.
    pathlib.Path("piano").mkdir()
    assert shipped.find("piano") == pathlib.Path("piano")
    assert shipped.find("models/piano") == pathlib.Path("models/piano")


def test_weights_made_here_have_a_name_too(tmp_path, monkeypatch, tiny_config):
    made = released_random_run(tmp_path / "weights", tiny_config)
    monkeypatch.chdir(tmp_path)
    assert shipped.find(made.name).resolve() == made.resolve()
    assert f"{made.name} " in shipped.listing() and "piano " in shipped.listing()


def test_other_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="nope is no folder .* are orchestral, piano, techno"):
        shipped.find("nope")
    # Of an installed package, without the checkout.
    monkeypatch.setattr(shipped, "_CHECKOUT", tmp_path)
    with pytest.raises(ValueError, match="weights/ of the project's checkout, which is not here"):
        shipped.find("piano")
