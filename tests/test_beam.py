"""Beam's direct runner gives the shards of the plain one, byte for byte."""

import pathlib
import subprocess
import sys

import pytest
import torture
from test_kill_preparation import write_noise, write_run

pytest.importorskip("apache_beam", reason="needs the extra 'musika_tf[scale]'")

ROOT = pathlib.Path(__file__).parent.parent


def _run(program: str, *words) -> str:
    command = [sys.executable, "-m", f"musika_tf.programs.{program}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_prepare_and_annotate(tmp_path):
    torture.make(tmp_path / "audio")
    words = [f"--audio_dir={tmp_path / 'audio'}", "--annotate=note_density"]
    words += ["--onset_detector=librosa"]
    for runner in ("local", "direct"):
        data_dir = tmp_path / runner / "data"
        text = _run("prepare", *words, f"--data_dir={data_dir}", f"--runner={runner}")
        assert "skipped " in text
    contents = [_files(tmp_path / runner / "data") for runner in ("local", "direct")]
    assert contents[0] == contents[1]


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_encode(tmp_path, tiny_config, autoencoder):
    write_run(tmp_path / "run", tiny_config, autoencoder)
    write_noise(tmp_path / "data", tiny_config, n_sources=3)
    words = [f"--run_dir={tmp_path / 'run'}", f"--data_dir={tmp_path / 'data'}"]
    contents = []
    for runner in ("local", "direct"):
        out = tmp_path / runner
        _run("encode", *words, f"--latent_dir={out}", f"--runner={runner}")
        contents.append(_files(out))
    assert contents[0] == contents[1]
