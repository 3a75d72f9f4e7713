"""Beam's direct runner and a Spark cluster give the plain runner's shards, byte for byte."""

import os
import pathlib
import subprocess
import sys

import pytest
import torture
from random_model import save_random_run
from test_encoding import write_waveforms

ROOT = pathlib.Path(__file__).parent.parent
# Spark starts a master and two workers, processes of their own with a core and a gigabyte each.
RUNNERS = {
    "direct": ("apache_beam", ["--runner=direct"]),
    "spark": (
        "pyspark",
        ["--runner=spark", "--runner_option=spark.master=local-cluster[2,1,1024]"],
    ),
}


@pytest.fixture(params=RUNNERS)
def runner(request) -> list[str]:
    """Flags of a runner that is installed."""
    module, flags = RUNNERS[request.param]
    pytest.importorskip(module, reason="needs the extra '.[scale]' or '.[spark]'")
    return flags


def _run(program: str, *words) -> str:
    command = [sys.executable, "-m", f"musika_tf.programs.{program}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_prepare_and_annotate(tmp_path, runner):
    torture.make(tmp_path / "audio")
    words = [f"--audio_dir={tmp_path / 'audio'}", "--annotate=note_density"]
    words += ["--onset_detector=librosa"]
    _run("prepare", *words, f"--data_dir={tmp_path / 'one'}")
    _run("prepare", *words, f"--data_dir={tmp_path / 'many'}", *runner)
    contents = _contents(tmp_path / "many")
    assert {"manifest.json", "report.csv", "labels-note_density.csv"} < contents.keys()
    assert contents == _contents(tmp_path / "one")


def test_encode(tmp_path, tiny_config, runner):
    save_random_run(tmp_path / "run", tiny_config)
    write_waveforms(tmp_path / "data", tiny_config, [600_000] * 3)
    # Of another working directory than that of workers.
    home = pathlib.Path(os.path.relpath(tmp_path, ROOT))
    words = [f"--run_dir={home / 'run'}", f"--data_dir={home / 'data'}"]
    _run("encode", *words, f"--latent_dir={tmp_path / 'one'}")
    _run("encode", *words, f"--latent_dir={tmp_path / 'many'}", *runner)
    assert _contents(tmp_path / "many") == _contents(tmp_path / "one")
