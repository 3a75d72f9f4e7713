"""The programs in examples/, run as a reader would run them, against a small model."""

from __future__ import annotations

import ast
import itertools
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator

import numpy as np
import processes
import pytest
import serving_client

from export.serving.server import Server

pytestmark = pytest.mark.slow

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
RATE_HZ = 22_050
# Two patches and a part of a third, with an anchor on the way.
SECONDS = 7.3
SEED = 3
# One step of 16 bits: what is rounded differs by 1e-5 at most.
ONE_STEP = 1


@pytest.fixture(scope="module")
def server(tiny_model) -> Iterator[Server]:
    with serving_client.new_server(tiny_model.parent) as server:
        yield server


@pytest.fixture(scope="module")
def rest_url(server) -> str:
    return url_of(server)


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.rest_port}/v1/models/musika"


@pytest.fixture(scope="module")
def grpc_address(server) -> str:
    return f"127.0.0.1:{server.grpc_port}"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Callable[..., None]:
    """Runs a program in this process, which has TensorFlow already."""

    def run(name: str, *words) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    yield run
    signal.signal(signal.SIGINT, before)


def run_alone(name: str, *words) -> None:
    command = [sys.executable] * name.endswith(".py") + [EXAMPLES / name, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def read(path: pathlib.Path) -> np.ndarray:
    """Samples of a 16-bit stereo file, int16 [n, 2], which must not be silent."""
    with wave.open(str(path)) as file:
        form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
        assert form == (2, 2, RATE_HZ)
        data = file.readframes(file.getnframes())
        assert len(data) == 4 * file.getnframes()
    samples = np.frombuffer(data, "<i2").reshape(-1, 2)
    assert np.abs(samples).max() > 100
    return samples


def difference(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b).max()


def test_no_example_imports_the_project():
    for path in EXAMPLES.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        imported = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
        imported += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
        tops = {name.partition(".")[0] for name in imported}
        assert tops and not tops & {"musika_tf", "export", "flags", ""}, path.name


OWN_CONTROLS = ("--condition=note_density=0.4", "--condition=tempo_bpm=120")


@pytest.mark.large
@pytest.mark.parametrize(
    ("fixture", "controls"), [("tiny_model", ()), ("conditional_model", OWN_CONTROLS)]
)
def test_a_piece_is_one_in_every_way(here, tmp_path, request, fixture, controls):
    version = request.getfixturevalue(fixture)
    model, same = f"--model={version}", (f"--seconds={SECONDS}", f"--seed={SEED}", *controls)
    here("generate_with_tensorflow.py", model, *same, "--out=seed.wav")
    here(
        "generate_with_tensorflow.py", model, "--signature=serving_default", *same, "--out=own.wav"
    )
    here("stream_endless.py", model, *same, "--out=stream.wav")
    with serving_client.new_server(version.parent) as server:
        address, url = f"--server=127.0.0.1:{server.grpc_port}", f"--url={url_of(server)}"
        metadata, out = f"--metadata={version}/metadata.json", f"--out={tmp_path}/client.wav"
        here("rest_client.py", url, *same, "--out=rest.wav")
        here("stream_endless.py", model, address, *same, "--out=server.wav")
        run_alone("grpc_client.py", address, metadata, *same, out)
    seed, own = read(tmp_path / "seed.wav"), read(tmp_path / "own.wav")
    assert seed.shape == own.shape == (round(SECONDS * RATE_HZ), 2)
    assert difference(read(tmp_path / "rest.wav"), seed) <= ONE_STEP
    for name in ("client.wav", "stream.wav", "server.wav"):
        assert difference(read(tmp_path / name), own) <= ONE_STEP, name


def test_seed_makes_one_piece_in_every_way(tmp_path, tiny_model, rest_url):
    out = {name: tmp_path / f"{name}.wav" for name in ("alone", "rest", "curl")}
    same = (f"--seconds={SECONDS}", f"--seed={SEED}")
    model = f"--model={tiny_model}"
    run_alone("generate_with_tensorflow.py", model, *same, f"--out={out['alone']}")
    run_alone("rest_client.py", f"--url={rest_url}", *same, f"--out={out['rest']}")
    alone = read(out["alone"])
    assert alone.shape == (round(SECONDS * RATE_HZ), 2)
    assert difference(read(out["rest"]), alone) <= ONE_STEP
    if shutil.which("curl"):
        run_alone("rest.sh", out["curl"], SECONDS, SEED, rest_url)
        assert out["curl"].read_bytes() == out["rest"].read_bytes()


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_shows_what_the_server_says(tmp_path, rest_url):
    words = [str(EXAMPLES / "rest.sh"), f"{tmp_path}/a.wav", "-1", "0", rest_url]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0
    assert "seconds" in done.stderr
    assert not (tmp_path / "a.wav").exists()


def test_ctrl_c_leaves_a_valid_file(tmp_path, tiny_model, tiny_config):
    out = tmp_path / "endless.wav"
    process = processes.Process(
        EXAMPLES / "stream_endless.py", f"--model={tiny_model}", f"--out={out}"
    )
    while not (out.exists() and out.stat().st_size > 1_000_000):
        process.must_run()
        time.sleep(0.01)
    killed_here = out.read_bytes()
    process.interrupt()
    process.succeed()
    endless = read(out)
    assert len(endless) % tiny_config.patch_n_samples == 0
    # Even what a killed program leaves is a file of whole patches.
    (tmp_path / "killed.wav").write_bytes(killed_here)
    killed = read(tmp_path / "killed.wav")
    assert difference(killed, endless[: len(killed)]) == 0


def test_own_beats_are_what_a_tempo_has_counted():
    """In the stream, before it, and in what is made in one call."""
    clock = {"name": "beats", "rate": "beats", "minimum": 0.0, "maximum": 4.0}
    metadata = {
        "context_n_latents": 16,
        "n_latents_per_anchor": 32,
        "seconds_per_latent": 0.2,
        "signals": [clock],
        "controls": [{"name": "tempo_bpm", "minimum": 40.0, "maximum": 240.0}],
        "signatures": {
            "latents": {
                "inputs": {name: {"shape": ["B", "N", 2]} for name in ("coordinates", "style")}
            },
            "serving_default": {"inputs": {name: {"shape": [2]} for name in ("anchors", "style")}},
        },
    }
    stream, call = (
        runpy.run_path(str(EXAMPLES / name))
        for name in ("stream_endless.py", "generate_with_tensorflow.py")
    )
    blocks = list(itertools.islice(stream["along_time"](metadata, 0, 2.0, {"tempo_bpm": "90"}), 3))
    found = np.concatenate([block["conditioning"] for block in blocks])
    expected = np.arange(-16, 64) * 0.2 * 90 / 60 % 4
    assert found.shape == (80, 1)
    # Both ends of the bar are the same place.
    apart = np.abs(found[:, 0] - expected)
    assert np.minimum(apart, 4 - apart).max() < 1e-5
    inputs = call["serving_default_inputs"](metadata, 7.0, 0, 2.0, {"tempo_bpm": 90.0})
    # 35 latents and the 16 that follow.
    assert inputs["conditioning"].shape == (1, 64, 1)
    np.testing.assert_allclose(inputs["conditioning"][0, :, 0], expected[16:], atol=1e-5)
    np.testing.assert_array_equal(inputs["anchors"][0, :1], blocks[0]["coordinates"][:1])


def test_conditional_model_is_given_its_signals(here, tmp_path, conditional_model):
    same = (f"--model={conditional_model}", f"--seconds={SECONDS}", "--condition=tempo_bpm=120")
    here("generate_with_tensorflow.py", *same, "--condition=note_density=0.1", "--out=seed.wav")
    here("stream_endless.py", *same, "--condition=note_density=random_walk", "--out=walk.wav")
    assert len(read(tmp_path / "seed.wav")) == len(read(tmp_path / "walk.wav"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate_with_tensorflow.py"], r"--condition=note_density=\(0.0 to 1.0\)"),
        (
            [
                "generate_with_tensorflow.py",
                "--condition=note_density=2",
                "--condition=tempo_bpm=120",
            ],
            "note_density=2.0 must be from 0.0 to 1.0",
        ),
        (["stream_endless.py"], "must tell this model note_density"),
    ],
)
def test_what_a_conditional_model_needs_is_said(here, conditional_model, words, message):
    name, *controls = words
    with pytest.raises(SystemExit, match=message):
        here(name, f"--model={conditional_model}", *controls, "--out=a.wav")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate_with_tensorflow.py", "--model={version}", "--seconds=-1"], "`seconds`"),
        (["rest_client.py", "--url={rest_url}", "--seconds=-1"], "status 400.*`seconds`"),
        (["rest_client.py", "--url=http://127.0.0.1:9"], "no answer from http://127.0.0.1:9"),
        (
            [
                "grpc_client.py",
                "--metadata={version}/metadata.json",
                "--server={grpc_address}",
                "--model_name=unknown",
            ],
            "NOT_FOUND.*unknown",
        ),
        (["stream_endless.py", "--model={version}", "--server=127.0.0.1:9"], "UNAVAILABLE"),
    ],
)
def test_mistakes_end_with_what_is_wrong(here, tiny_model, rest_url, grpc_address, words, message):
    known = {"version": tiny_model, "rest_url": rest_url, "grpc_address": grpc_address}
    with pytest.raises(SystemExit, match=f"(?s){message}"):
        here(*(word.format(**known) for word in words), "--out=a.wav")


# The speakers


SPEAKERS = """
played = []

class OutputStream:
    def __init__(self, rate_hz, channels, dtype):
        assert (rate_hz, channels, dtype) == (22050, 2, "int16")
    __enter__ = lambda self: self
    __exit__ = lambda self, *_: None
    write = lambda self, samples: played.append(samples)
"""


def test_speakers_play_the_stream(here, tmp_path, tiny_model, tiny_config, monkeypatch):
    (tmp_path / "sounddevice.py").write_text(SPEAKERS)
    monkeypatch.syspath_prepend(tmp_path)
    n_samples = tiny_config.patch_n_samples + 1000
    seconds = n_samples / RATE_HZ
    here("stream_endless.py", f"--model={tiny_model}", f"--seconds={seconds}", "--speakers")
    played = np.concatenate(sys.modules.pop("sounddevice").played)
    assert played.dtype == np.int16
    assert played.shape == (n_samples, 2)
    assert np.abs(played).max() > 100


def test_missing_speakers_are_said(here, tmp_path, tiny_model, monkeypatch):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit, match="pip install sounddevice.*PortAudio library not found"):
        here("stream_endless.py", f"--model={tiny_model}", "--speakers")
