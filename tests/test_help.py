"""`--help` of every program, however it is started; what the documentation calls is there."""

from __future__ import annotations

import ast
import importlib.util
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

import processes
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = (".", "docs", "examples", "weights/*")
PAGES = [str(p.relative_to(ROOT)) for f in FOLDERS for p in sorted(ROOT.glob(f"{f}/*.md"))]

# A flag of each module that the program takes flags from.
TRAINING_FLAGS = ("--run_dir", "--sample_n_steps", "--learning_rate", "--hop_size", "--seq_len")
EXPECTED_FLAGS = {
    "train": (
        "--audio_dir",
        "--name",
        "--hours",
        "--[no]from_scratch",
        "--autoencoder",
        "--conditioning",
    ),
    "prepare": ("--audio_dir", "--preset", "--level1_latent_depth", "--seq_len", "--batch_size"),
    "train_autoencoder": ("--data_dir", "--xla", "--level2_strides", *TRAINING_FLAGS),
    "encode": ("--run_dir", "--latent_dir", "--[no]decode", "--max_onsets_per_second"),
    "train_gan": ("--latent_dir", "--autoencoder", *TRAINING_FLAGS),
    "lower": ("--stage", "--lowered_dir", "--autoencoder", "--preset", *TRAINING_FLAGS[2:]),
    "export": ("--run_dir", "--model_dir", "--[no]verify", "--[no]litert"),
    "release": ("--run_dir", "--weights_dir", "--card", "--[no]overwrite"),
    "generate": ("--model_dir", "--seconds", "--[no]picture", "--note_density", "--condition"),
    "evaluate": (
        "--model_dir",
        "--run_dir",
        "--out",
        "--[no]adherence",
        "--[no]quality",
        "--num_walks",
        "--vggish_dir",
    ),
    "web": ("--model_dir", "--out", "--[no]overwrite"),
    "play": ("--model_dir", "--cache_dir", "--port", "--[no]browser"),
    "serve": ("--model_dir", "--rest_port", "--max_queue", "--grace_seconds"),
}


def listed_programs() -> tuple[str, ...]:
    """The programs that setup.py makes commands of."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "_PROGRAMS":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no _PROGRAMS")


def as_module(program: str) -> str:
    return processes.run(program, "--help", ok=False).stdout


def as_console_script(program: str) -> str:
    """What the script that setuptools installs does."""
    name = f"/usr/bin/musika-{program.replace('_', '-')}"
    code = f"import sys; sys.argv[0] = {name!r}; from musika_tf.programs.{program} import run; "
    command = [sys.executable, "-c", f"{code}sys.exit(run())", "--help"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout


def source_of(program: str) -> ast.Module:
    path = importlib.util.find_spec(f"musika_tf.programs.{program}").origin
    return ast.parse(pathlib.Path(path).read_text())


@pytest.fixture(scope="module")
def helps() -> dict[tuple[str, Callable[[str], str]], str]:
    """What `--help` says, by program and way of starting it."""
    # One console script stands for all: setup.py makes them alike.
    starts = [*((name, as_module) for name in listed_programs()), ("prepare", as_console_script)]
    return {(program, way): way(program) for program, way in starts}


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Programs that a page gives flags to, and which."""
    found = re.findall(r"(?m)(?:^ *|`)musika-([a-z-]+)((?:\\\n|[^\n`#|])*)", text)
    calls = [(name.replace("-", "_"), re.findall(r"(?<=\s)--(\w+)", rest)) for name, rest in found]
    return [(program, names) for program, names in calls if names]


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_the_documentation_are_there(page, helps):
    for program, names in commands((ROOT / page).read_text()):
        assert (program, as_module) in helps, f"there is no program {program}"
        known = re.findall(r"^  --(\[no\])?(\w+):", helps[program, as_module], re.MULTILINE)
        flags = {f"{no}{name}" for negation, name in known for no in ("", "no" if negation else "")}
        # Of absl itself, which `--help` leaves out.
        assert set(names) <= flags | {"flagfile", "help"}, program


def test_commands_are_found_where_they_go_on_in_the_next_line():
    page = "`musika-models`, `musika-export --verify`\n    musika-train-gan --a \\\n  --b=2  # --c"
    assert commands(page) == [("export", ["verify"]), ("train_gan", ["a", "b"])]


@pytest.mark.parametrize("program", listed_programs())
def test_listed_program_has_an_entry_point(program):
    functions = [n.name for n in source_of(program).body if isinstance(n, ast.FunctionDef)]
    assert "run" in functions


def test_help_says_what_a_program_does_and_lists_all_its_flags(helps):
    assert set(listed_programs()) == set(EXPECTED_FLAGS), (
        "a new program needs its flags in EXPECTED_FLAGS"
    )
    for (program, way), text in helps.items():
        where = f"{program} started {way.__name__}:\n{text}"
        assert ast.get_docstring(source_of(program)).splitlines()[0] in text, where
        for flag in EXPECTED_FLAGS[program]:
            assert f"\n  {flag}:" in text, f"{flag} is missing in {where}"
        # Those of absl and TensorFlow are for --helpfull.
        assert "--verbosity" not in text and "--tt_" not in text, where
