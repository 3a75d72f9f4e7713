"""Beam's direct runner and a Spark cluster give the plain runner's shards, byte for byte."""

import os
import pathlib

import processes
import pytest
import torture
from comparing import contents
from random_model import save_random_run
from test_encoding import write_waveforms

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


def test_prepare_and_annotate(tmp_path, runner):
    torture.make(tmp_path / "audio")
    words = [f"--audio_dir={tmp_path / 'audio'}", "--annotate=note_density"]
    words += ["--onset_detector=librosa"]
    processes.run_plain("prepare", *words, f"--data_dir={tmp_path / 'one'}")
    processes.run_plain("prepare", *words, f"--data_dir={tmp_path / 'many'}", *runner)
    found = contents(tmp_path / "many")
    assert {"manifest.json", "report.csv", "labels-note_density.csv"} < found.keys()
    assert found == contents(tmp_path / "one")


def test_encode(tmp_path, tiny_config, runner):
    save_random_run(tmp_path / "run", tiny_config)
    write_waveforms(tmp_path / "data", tiny_config, [600_000] * 3)
    # Of another working directory than that of workers.
    home = pathlib.Path(os.path.relpath(tmp_path, processes.ROOT))
    words = [f"--run_dir={home / 'run'}", f"--data_dir={home / 'data'}"]
    processes.run_plain("encode", *words, f"--latent_dir={tmp_path / 'one'}")
    processes.run_plain("encode", *words, f"--latent_dir={tmp_path / 'many'}", *runner)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
