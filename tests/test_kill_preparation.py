"""Preparation and encoding that are killed at any moment end with the same shards."""

from __future__ import annotations

import pathlib
import random
import time

import processes
import pytest
from comparing import contents
from random_model import save_random_run
from test_encoding import write_waveforms

PIANO = pathlib.Path(__file__).parent / "data" / "piano"
N_KILLS = [1, pytest.param(20, marks=pytest.mark.large)]


def kill_and_rerun(program: str, words: list, out_flag: str, home: pathlib.Path, n_kills: int):
    """Compares the folder of an undisturbed run with those of runs that were killed once."""
    begin = time.monotonic()
    processes.run(program, *words, f"--{out_flag}={home / 'whole' / 'out'}")
    seconds = time.monotonic() - begin
    whole, rng, n_killed = contents(home / "whole" / "out"), random.Random(program), 0
    while n_killed < n_kills:
        out = home / f"{n_killed} {seconds}" / "out"
        command = f"musika_tf.programs.{program}", *words, f"--{out_flag}={out}"
        process = processes.Process(*command)
        time.sleep(rng.uniform(0.0, 1.0) * seconds)
        if process.poll() is not None:
            # It was faster than before.
            seconds *= 0.8
            continue
        process.kill()
        n_killed += 1
        processes.run(program, *words, f"--{out_flag}={out}", "--overwrite")
        assert contents(out) == whole
        # Neither what was kept, nor what was half done.
        assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("n_kills", N_KILLS)
def test_prepare(tmp_path, n_kills):
    words = [f"--audio_dir={PIANO}", "--n_workers=2", "--sample_rate_hz=48000"]
    kill_and_rerun("prepare", words, "data_dir", tmp_path, n_kills)


@pytest.mark.parametrize("n_kills", N_KILLS)
def test_encode(tmp_path, tiny_config, n_kills):
    save_random_run(tmp_path / "run", tiny_config)
    write_waveforms(tmp_path / "data", tiny_config, [600_000] * 6)
    words = [f"--run_dir={tmp_path / 'run'}", f"--data_dir={tmp_path / 'data'}"]
    kill_and_rerun("encode", words, "latent_dir", tmp_path, n_kills)
