"""The system of a GAN whose run has, or takes over, another run's autoencoder."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from flags import adoption, system
from musika_tf.config import Config
from musika_tf.runs.run import ADOPTED_FILE, CONFIG_FILE, Run


@pytest.fixture
def theirs(tiny_config) -> Config:
    """A system with an autoencoder that no preset asks for."""
    sizes = dataclasses.replace(tiny_config.autoencoder, level2_encoder_widths=(8, 8))
    return dataclasses.replace(tiny_config, autoencoder=sizes)


def run_of(folder: pathlib.Path, config: Config) -> Run:
    folder.mkdir()
    (folder / CONFIG_FILE).write_text(config.to_json())
    return Run(folder)


def test_an_autoencoder_is_its_own_runs_whatever_the_preset_says(tmp_path, theirs, parse_flags):
    flag_values = parse_flags("--preset=tiny", "--style_depth=8")
    source, new = run_of(tmp_path / "source", theirs), Run(tmp_path / "new")
    expected = dataclasses.replace(theirs, gan=dataclasses.replace(theirs.gan, style_depth=8))
    assert adoption.config(new, source, flag_values) == expected
    # Adopted, and gone on with by a command that does not name the source again.
    new = run_of(tmp_path / "new", expected)
    (new.folder / ADOPTED_FILE).write_text("{}")
    assert adoption.config(new, None, flag_values) == expected


def test_a_run_that_adopted_nothing_is_held_against_the_preset(tmp_path, theirs, parse_flags):
    flag_values, run = parse_flags("--preset=tiny"), run_of(tmp_path / "run", theirs)
    asked = adoption.config(run, None, flag_values)
    assert asked == system.config(flag_values=flag_values) != theirs
    with pytest.raises(ValueError, match="level2_encoder_widths is"):
        run.check_config(asked)
