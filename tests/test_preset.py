"""`--preset`: read before flags are parsed, from whatever folder."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from flags import preset, system, training

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRESETS = ROOT / "flags" / "presets"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_preset_stands_on_others_and_flags_after_it_change_it(parse_flags):
    flag_values = parse_flags("--preset=small_techno", "--seq_len=64")
    config = system.config(flag_values=flag_values)
    assert config.autoencoder.level2_strides == (4, 2)  # small_techno
    assert config.autoencoder.level1_encoder_widths == (384, 384, 384)  # small
    assert config.audio.window_size == 1024  # piano
    assert config.gan.seq_len == 64  # the command line
    assert training.config(flag_values=flag_values).batch_size == 8


def test_it_stands_where_it_is_named(elsewhere):
    (elsewhere / "techno.flags").write_text((PRESETS / "techno.flags").read_text())
    of_techno = preset.expand(["--preset=techno"])
    assert of_techno[0] == "--sample_rate_hz=22050"
    for words in (
        ["--preset", "techno"],
        ["-preset=techno"],
        [f"--flagfile={PRESETS / 'techno.flags'}"],
        ["--flagfile=techno.flags"],
    ):
        assert preset.expand(["--a=1", *words, "--b=2"]) == ["--a=1", *of_techno, "--b=2"]


@pytest.mark.parametrize("words", [["--preset=smal"], ["--preset="], ["--preset"]])
def test_what_is_no_preset_is_refused(words):
    with pytest.raises(ValueError, match=r"must be one of .*piano.*; a file of your own"):
        preset.expand(words)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--preset=small_techno",
            "error: {here}/nowhere is no folder: give the folder that holds the audio files\n",
        ),
        ("--preset=smal", "error: --preset=smal must be one of"),
        ("--flagfile=smal.flags", "smal.flags"),
    ],
)
def test_a_program_takes_it_in_any_folder_and_ends_with_one_line(elsewhere, flag, message):
    words = ("musika_tf.programs.prepare", flag, "--audio_dir=nowhere", "--data_dir=data")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert message.format(here=elsewhere) in done.stderr
    assert done.stderr.count("\n") == 1
