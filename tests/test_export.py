"""Export: what a version holds, that it was verified, and where it goes."""

from __future__ import annotations

import json
import pathlib
import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from export import saved_model, signatures
from export.verification import checks, loaders
from export.verification import verify as verify_lib
from musika_tf.config import Config
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.runs.run import Run

SIGNATURES = ["serving_default", "generate", "generate_wav", "latents", "decode"]


@pytest.fixture(scope="module")
def run_dir(tiny_model) -> pathlib.Path:
    return tiny_model.parents[1] / "run"


@pytest.mark.large
def test_export_passes_through_all_loaders(tmp_path, run_dir, capsys):
    # In a fresh process, or there would be an error here.
    assert saved_model.export(Run(run_dir), tmp_path).name == "1"
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert re.split("  +", head) == ["check", *loaders.LOADERS]
    assert last.startswith("graph: no random state")
    table = {row[0]: row[1:] for row in (re.split("  +", row) for row in rows)}
    differences = {check: table[check] for check in table if " of " not in table[check][0]}
    warmed_up = differences.pop("warm-up requests")
    assert warmed_up == ["5 answered"] * 3
    what = ("as the live networks", "again", "one row alone")
    assert set(differences) == {
        *(f"{name}, {check}" for name in SIGNATURES for check in what),
        *(f"streamed, {n} excerpts at a time" for n in (1, 3)),
    }
    values = [float(value) for row in differences.values() for value in row]
    assert len(values) == 3 * (3 * len(SIGNATURES) + 2)
    assert max(values) <= checks.TOLERANCE + 2**-15
    for value in table["bad inputs, refused by name"]:
        assert re.fullmatch(r"(\d+) of \1 refused", value)


def test_published_shapes(tiny_model, tiny_config):
    graph = saved_model.saved_model_pb2.SavedModel()
    graph.ParseFromString((tiny_model / "saved_model.pb").read_bytes())
    shapes = {
        (name, key): [size.size for size in info.tensor_shape.dim]
        for name, definition in graph.meta_graphs[0].signature_def.items()
        for key, info in [*definition.inputs.items(), *definition.outputs.items()]
        if name in SIGNATURES
    }
    gan, depth = tiny_config.gan, tiny_config.stereo_latent_depth
    assert shapes == {
        ("serving_default", "anchors"): [-1, -1, gan.anchor_depth],
        ("serving_default", "style"): [-1, gan.style_depth],
        ("serving_default", "waveform"): [-1, -1, 2],
        **{
            (name, key): shape
            for name in ("generate", "generate_wav")
            for key, shape in {"seed": [-1, 2], "seconds": [-1], "truncation": [-1]}.items()
        },
        ("generate", "waveform"): [-1, -1, 2],
        ("generate_wav", "wav_bytes"): [-1],
        ("latents", "coordinates"): [-1, -1, gan.anchor_depth],
        ("latents", "style"): [-1, -1, gan.style_depth],
        ("latents", "start"): [-1],
        ("latents", "latents"): [-1, -1, depth],
        ("decode", "latents"): [-1, -1, depth],
        ("decode", "overlap"): [-1, tiny_config.audio.overlap_size, 2],
        ("decode", "waveform"): [-1, -1, 2],
    }


def test_metadata(tiny_model, run_dir, tiny_config):
    metadata = json.loads((tiny_model / "metadata.json").read_text(encoding="utf-8"))
    assert Config.from_json(json.dumps(metadata["config"])) == tiny_config
    assert metadata["sample_rate_hz"] == tiny_config.audio.sample_rate_hz
    assert metadata["seconds_per_anchor"] == tiny_config.anchor_hop_size / 22_050
    assert metadata["training"]["level2_phase2"] == {"step": 7, "flags": []}
    # Where the folders of the one who trained it lie is left out.
    assert metadata["training"]["gan"] == {"step": 9, "flags": ["--seed=3", "--latent_dir=latents"]}
    assert metadata["signatures"]["serving_default"]["inputs"]["anchors"] == {
        "shape": ["B", "A", tiny_config.gan.anchor_depth],
        "sizes": {
            "B": {"minimum": 1, "maximum": 32, "multiple_of": 1},
            # 600 s are 100.9 steps of 5.944 s.
            "A": {"minimum": 2, "maximum": 102, "multiple_of": 1},
        },
        "dtype": "float32",
        "meaning": "latent coordinates, one every 5.944 s",
        "range": "standard normal draws",
    }
    assert metadata["n_latents_per_anchor"] == metadata["context_n_latents"] == 32
    # A window is at least a step of the coarsest rate, of 8, with its context, and 600 s are 101
    # ways from anchor to anchor.
    limits = {"minimum": 8 + 2 * 32, "maximum": 101 * 32 + 2 * 32, "multiple_of": 8}
    latents = metadata["signatures"]["latents"]
    assert latents["inputs"]["coordinates"]["sizes"]["N"] == limits
    assert latents["inputs"]["start"]["multiple_of"] == 8
    assert latents["outputs"]["latents"]["shape"] == ["B", "N-64", 32]
    synthesizer = Run(run_dir).synthesizer()
    assert metadata["weights_sha256"] == synthesizer.weights_sha256()
    kernel = synthesizer.networks["decoder2"].weights[0]
    kernel.assign_add(tf.ones_like(kernel) * 1e-3)
    assert metadata["weights_sha256"] != synthesizer.weights_sha256()


# Versions


@pytest.fixture
def quick_save(monkeypatch):
    """Leaves the slow part out: what is tested is where things go."""

    def save(synthesizer: Synthesizer, path, limits):
        path.mkdir()
        return signatures.contract(synthesizer, limits)

    monkeypatch.setattr(saved_model, "save", save)


@pytest.mark.large
def test_bfloat16_is_another_rounding_of_the_same_music(tmp_path, run_dir):
    waveforms, n_bytes = {}, {}
    for precision in saved_model.PRECISIONS:
        synthesizer = Run(run_dir).synthesizer(precision=precision)
        contract = saved_model.save(synthesizer, tmp_path / precision)
        described = saved_model.metadata(synthesizer, contract, signatures.Limits(), {})
        assert described["precision"] == precision
        model = tf.saved_model.load(str(tmp_path / precision))
        inputs = {name: tf.constant(v) for name, v in contract["generate"].example().items()}
        waveforms[precision] = model.signatures["generate"](**inputs)["waveform"].numpy()
        files = (tmp_path / precision / "variables").glob("*.data-*")
        n_bytes[precision] = sum(path.stat().st_size for path in files)
    error, signal = (
        np.mean(np.square(array, dtype=np.float64))
        for array in (waveforms["bfloat16"] - waveforms["float32"], waveforms["float32"])
    )
    assert -75.0 < 10.0 * np.log10(error / signal) < -20.0
    assert n_bytes["bfloat16"] < n_bytes["float32"]
    # The last layers say for themselves what they are, and so does the principal path.
    dtypes = [weight.dtype for weight in synthesizer.networks["decoder1"].weights]
    assert dtypes.count("bfloat16") > 10
    assert dtypes.count("float32") == 4 + 5
    assert {weight.dtype for weight in synthesizer.generator.weights} == {"float32"}


def test_versions_count_up(tmp_path, run_dir, quick_save):
    for name in ("9", "10", "notes"):
        (tmp_path / name).mkdir()
    assert saved_model.export(Run(run_dir), tmp_path, verify=False) == tmp_path / "11"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "11", "9", "notes"]


def test_what_does_not_pass_is_not_kept(tmp_path, run_dir, quick_save, monkeypatch):
    def fail(*_):
        raise ValueError("did not pass")

    monkeypatch.setattr(verify_lib, "verify", fail)
    monkeypatch.setattr(saved_model, "cases", lambda contract: {})
    with pytest.raises(ValueError, match="did not pass"):
        saved_model.export(Run(run_dir), tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_the_messages_of_serving_there_are_no_warm_up_requests(
    tmp_path, run_dir, quick_save, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    version = saved_model.export(Run(run_dir), tmp_path, verify=False)
    assert [path.name for path in version.iterdir()] == ["metadata.json"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("pip install '.[serving]'")
