"""The LiteRT graphs: what they compute and weigh, what a program without TensorFlow makes."""

from __future__ import annotations

import hashlib
import json
import pathlib
import runpy
import subprocess
import sys
import wave

import numpy as np
import pytest
import tensorflow as tf
from random_model import save_random_run

from export import litert
from musika_tf.conditioning import controls
from musika_tf.config import Config
from musika_tf.networks import coordinates
from musika_tf.player import open_player
from musika_tf.runs.run import Run

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "generate_with_litert.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, page_weights) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("litert") / "model"
    run = Run(page_weights)
    assert litert.save(run.synthesizer(), folder, run.provenance()) < litert.MAX_DIFFERENCE_DB
    return folder


@pytest.fixture(scope="module")
def manifest(folder) -> dict:
    return json.loads((folder / litert.MANIFEST_FILE).read_text())


def test_manifest_says_what_the_files_hold(folder, manifest):
    assert manifest["difference_db"] < litert.MAX_DIFFERENCE_DB
    for name, graph in manifest["graphs"].items():
        content = (folder / graph["file"]).read_bytes()
        assert graph["bytes"] == len(content)
        assert graph["sha256"] == hashlib.sha256(content).hexdigest()
        runner = tf.lite.Interpreter(model_content=content).get_signature_runner(name)
        for side, found in (
            ("inputs", runner.get_input_details()),
            ("outputs", runner.get_output_details()),
        ):
            shapes = {key: (t["shape"].tolist(), t["dtype"].__name__) for key, t in found.items()}
            said = {k: (t["shape"], t["dtype"]) for k, t in graph[side].items()}
            assert shapes == said


def test_weights_are_float16_that_lose_nothing(folder, page_weights, manifest):
    synthesizer = Run(page_weights).synthesizer()
    for name, networks in (("generator", ["generator"]), ("decoder", ["decoder2", "decoder1"])):
        n_weights = sum(synthesizer.networks[n].count_params() for n in networks)
        # Two bytes a weight, and the graph itself.
        assert manifest["graphs"][name]["bytes"] < 2.1 * n_weights + 60_000
    # Exact weights leave the rounding of float32 alone: far below what is promised.
    assert manifest["difference_db"] < -90


def test_trained_weights_of_float32_are_rounded(tmp_path, beats_config):
    save_random_run(tmp_path / "run", beats_config)
    run = Run(tmp_path / "run")
    difference = litert.save(run.synthesizer(), tmp_path / "litert", run.provenance())
    assert -80 < difference < -30


def test_generator_and_decoder_by_the_networks(folder, page_weights, beats_config):
    """Another window of another piece than the one that the export looks at."""
    player, gan = open_player(page_weights), beats_config.gan
    start, context = 5 * gan.seq_len, gan.context_n_steps
    n_steps, seed = gan.seq_len + 2 * context, tf.constant([[7, 0]])
    line = coordinates.draw_line(gan, seed, start - context, n_steps, tf.constant([1.5]))
    asked = [controls.Constant(0.2), controls.Beats(controls.Constant(97.0))]
    values = controls.values(asked, beats_config, [7, 0], start - context, n_steps)
    rng = np.random.default_rng(0)
    inputs = {
        "coordinates": line.numpy(),
        "style": rng.standard_normal((1, n_steps, gan.style_depth)).astype(np.float32),
        "start": np.int32([start]),
        "conditioning": values[np.newaxis],
    }
    run = {
        name: tf.lite.Interpreter(str(folder / f"{name}.tflite")).get_signature_runner(name)
        for name in ("generator", "decoder")
    }
    latents = player.latents(**{k: tf.constant(v) for k, v in inputs.items()}).numpy()
    np.testing.assert_allclose(run["generator"](**inputs)["latents"], latents, atol=1e-4)
    excerpt = latents[:, : beats_config.excerpt_n_latents]
    parts = run["decoder"](latents=excerpt)
    autoencoder = Run(page_weights).synthesizer().autoencoder
    left, right = np.split(excerpt, 2, axis=-1)
    found = autoencoder.spectrum_as_decoded(
        *autoencoder.decode1(autoencoder.decode2(np.concatenate([left, right])))
    )
    for part, expected in zip(("real", "imaginary"), found, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(parts[part] / scale, expected / scale, atol=1e-4)


@pytest.mark.large
def test_export_with_litert_stands_beside_the_saved_model(tmp_path, page_weights):
    from export import saved_model

    version = saved_model.export(Run(page_weights), tmp_path / "m", verify=False, with_litert=True)
    assert {p.name for p in (version / "litert").iterdir()} == {
        "generator.tflite",
        "decoder.tflite",
        "manifest.json",
    }


def test_example_makes_what_the_model_makes(
    tmp_path, folder, page_weights, beats_config, monkeypatch
):
    """Its draws, given to the Synthesizer."""
    pytest.importorskip("ai_edge_litert", reason="needs pip install ai-edge-litert")
    seconds, conditions = 20.0, ("--condition=note_density=0.3", "--condition=tempo_bpm=110")
    words = [f"--model={folder}", f"--seconds={seconds}", "--seed=3", *conditions]
    out = tmp_path / "music.wav"
    command = [sys.executable, "-I", EXAMPLE, *words, f"--out={out}"]
    subprocess.run(command, check=True, capture_output=True)
    with wave.open(str(out)) as file:
        n_samples = file.getnframes()
        samples = np.frombuffer(file.readframes(n_samples), "<i2").reshape(-1, 2) / 32768
    assert n_samples == round(seconds * beats_config.audio.sample_rate_hz)
    expected = _expected(folder, page_weights, beats_config, n_samples)
    # Half a step of 16 bits, and what float32 rounds.
    np.testing.assert_allclose(samples, expected, atol=0.6 / 32768)


def _expected(folder, page_weights, config: Config, n_samples: int) -> np.ndarray:
    program = runpy.run_path(str(EXAMPLE), run_name="example")
    manifest = json.loads((folder / litert.MANIFEST_FILE).read_text())
    windows = program["Piece"](manifest, 3, 2.0, [0.3, 110.0]).windows()
    player, overlap = open_player(page_weights), tf.zeros([1, config.audio.overlap_size, 2])
    waveforms = []
    while sum(map(len, waveforms)) < n_samples:
        inputs = {name: tf.constant(value) for name, value in next(windows).items()}
        waveform, overlap = player.decode(player.latents(**inputs), overlap)
        waveforms.append(waveform[0].numpy())
    return np.concatenate(waveforms)[:n_samples]
