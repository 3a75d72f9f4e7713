"""`--help` of every program, however it is started."""

from __future__ import annotations

import ast
import concurrent.futures
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# A flag of each module that the program takes flags from.
TRAINING_FLAGS = ("--run_dir", "--sample_n_steps", "--learning_rate", "--hop_size", "--seq_len")
EXPECTED_FLAGS = {
    "prepare": ("--audio_dir", "--hop_size", "--level1_latent_depth", "--seq_len", "--batch_size"),
    "train_autoencoder": ("--data_dir", "--xla", "--level2_strides", *TRAINING_FLAGS),
    "encode": ("--run_dir", "--latent_dir", "--[no]decode", "--max_onsets_per_second"),
    "train_gan": ("--latent_dir", "--autoencoder", *TRAINING_FLAGS),
    "lower": ("--run_dir", "--stage", "--lowered_dir", "--learning_rate", "--level2_strides"),
    "export": ("--run_dir", "--model_dir", "--[no]verify"),
    "release": ("--run_dir", "--weights_dir", "--card", "--[no]overwrite"),
    "generate": ("--model_dir", "--seconds", "--[no]picture", "--note_density", "--condition"),
    "evaluate": (
        "--model_dir",
        "--run_dir",
        "--out",
        "--[no]adherence",
        "--[no]quality",
        "--num_walks",
    ),
    "serve": ("--model_dir", "--rest_port", "--max_queue", "--grace_seconds"),
}


def listed_programs() -> tuple[str, ...]:
    """The programs that setup.py makes commands of."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "_PROGRAMS":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no _PROGRAMS")


def as_module(program: str) -> list[str]:
    return ["-m", f"musika_tf.programs.{program}"]


def as_console_script(program: str) -> list[str]:
    """What the script that setuptools installs does."""
    name = f"/usr/bin/musika-{program.replace('_', '-')}"
    code = f"import sys; sys.argv[0] = {name!r}; from musika_tf.programs.{program} import run; "
    return ["-c", f"{code}sys.exit(run())"]


def help_of(words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, *words, "--help"], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    return done.stdout


def source_of(program: str) -> ast.Module:
    path = importlib.util.find_spec(f"musika_tf.programs.{program}").origin
    return ast.parse(pathlib.Path(path).read_text())


@pytest.mark.parametrize("program", listed_programs())
def test_listed_program_has_an_entry_point(program):
    functions = [n.name for n in source_of(program).body if isinstance(n, ast.FunctionDef)]
    assert "run" in functions


def test_help_says_what_a_program_does_and_lists_all_its_flags():
    programs = listed_programs()
    assert set(programs) == set(EXPECTED_FLAGS), "a new program needs its flags in EXPECTED_FLAGS"
    # One console script stands for all: setup.py makes them alike.
    starts = [*((program, as_module) for program in programs), ("prepare", as_console_script)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(lambda start: help_of(start[1](start[0])), starts))
    for (program, way), text in zip(starts, texts, strict=True):
        where = f"{program} started {way.__name__}:\n{text}"
        assert ast.get_docstring(source_of(program)).splitlines()[0] in text, where
        for flag in EXPECTED_FLAGS[program]:
            assert f"\n  {flag}:" in text, f"{flag} is missing in {where}"
        # Those of absl and TensorFlow are for --helpfull.
        assert "--verbosity" not in text and "--tt_" not in text, where
