"""The exported model: its contract, its checks, and that a bad one is found out."""

from __future__ import annotations

import json
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_synthesis import save_random_run

from export import saved_model, signatures
from export import verify as verify_lib
from musika_tf.config import Config
from musika_tf.synthesis import Synthesizer

SIGNATURES = ["serving_default", "latents", "decode"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tiny_config) -> pathlib.Path:
    run_dir = tmp_path_factory.mktemp("run")
    save_random_run(run_dir, tiny_config)
    (run_dir / "gan" / "flags.txt").write_text("# gan\n--seed=3\n--latent_dir=/home/me/latents\n")
    return run_dir


@pytest.fixture(scope="module")
def printed() -> list[str]:
    return []


@pytest.fixture(scope="module")
def version(tmp_path_factory, run_dir, printed) -> pathlib.Path:
    """An export that passed in a fresh process, or there would be an error here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(words)))
        return saved_model.export(run_dir, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def loaded(version):
    return tf.saved_model.load(str(version))


@pytest.fixture(scope="module")
def contract(run_dir) -> dict[str, signatures.Signature]:
    return signatures.contract(saved_model.synthesis.load(run_dir))


def test_export_passes_through_both_loaders(version, printed):
    assert version.name == "1"
    rows = [line.split() for line in "".join(printed).splitlines()[1:-1]]
    assert {(row[0], row[1]) for row in rows} == {
        (signature, loader) for signature in SIGNATURES for loader in verify_lib.LOADERS
    }
    assert all(float(row[2]) <= verify_lib.TOLERANCE for row in rows)
    assert printed[-1].splitlines()[-1].startswith("graph: no random state")


def test_contract_is_kept(loaded, contract):
    assert list(contract) == SIGNATURES
    assert set(loaded.signatures) == set(SIGNATURES)
    for name, signature in contract.items():
        function = loaded.signatures[name]
        assert set(function.structured_input_signature[1]) == set(signature.inputs)
        outputs = function(**tensors(signature.example(batch_size=3)))
        assert set(outputs) == set(signature.outputs)
        for key, port in signature.outputs.items():
            assert outputs[key].dtype == port.dtype
            assert outputs[key].shape[0] == 3
            assert port.static_shape.is_compatible_with(outputs[key].shape)


def tensors(arrays):
    return {name: tf.constant(array) for name, array in arrays.items()}


def test_served_waveform_is_the_live_networks_eagerly(loaded, contract):
    # An independent way to the same numbers: eager, without the graph and its checks.
    inputs = contract["serving_default"].example()
    live = contract["serving_default"].compute(**tensors(inputs))["waveform"]
    served = loaded.signatures["serving_default"](**tensors(inputs))["waveform"]
    np.testing.assert_allclose(served, live, rtol=0, atol=verify_lib.TOLERANCE)


def test_published_shapes(version, tiny_config):
    graph = saved_model.saved_model_pb2.SavedModel()
    graph.ParseFromString((version / "saved_model.pb").read_bytes())
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
        ("latents", "coordinates"): [-1, gan.seq_len, gan.anchor_depth],
        ("latents", "style"): [-1, gan.style_depth],
        ("latents", "latents"): [-1, gan.seq_len, depth],
        ("decode", "latents"): [-1, -1, depth],
        ("decode", "overlap"): [-1, tiny_config.audio.overlap_size, 2],
        ("decode", "waveform"): [-1, -1, 2],
    }


def test_metadata(version, run_dir, tiny_config):
    metadata = json.loads((version / "metadata.json").read_text(encoding="utf-8"))
    assert Config.from_json(json.dumps(metadata["config"])) == tiny_config
    assert metadata["sample_rate_hz"] == tiny_config.audio.sample_rate_hz
    assert metadata["seconds_per_anchor"] == tiny_config.anchor_hop_size / 22_050
    assert metadata["training"]["level2_phase2"] == {"step": 7, "flags": []}
    # Where the folders of the one who trained it lie is left out.
    assert metadata["training"]["gan"] == {"step": 9, "flags": ["--seed=3", "--latent_dir=latents"]}
    assert metadata["signatures"]["serving_default"]["inputs"]["anchors"] == {
        "shape": ["B", "A", tiny_config.gan.anchor_depth],
        "sizes": {"B": "B at least 1", "A": "A at least 2"},
        "dtype": "float32",
        "meaning": "latent coordinates, one every 5.944 s",
        "range": "standard normal draws",
    }
    synthesizer = saved_model.synthesis.load(run_dir)
    assert metadata["weights_sha256"] == saved_model.weights_sha256(synthesizer.networks)
    kernel = synthesizer.networks["decoder2"].weights[0]
    kernel.assign_add(tf.ones_like(kernel) * 1e-3)
    assert metadata["weights_sha256"] != saved_model.weights_sha256(synthesizer.networks)


def changed(signature, name, change):
    inputs = signature.example()
    return {**inputs, name: np.asarray(change(inputs[name]), np.float32)}


def with_first(value):
    def change(array):
        array = array.copy()
        array.flat[0] = value
        return array

    return change


BAD_INPUTS = {
    "one anchor": ("serving_default", "anchors", lambda x: x[:, :1], "A at least 2"),
    "anchors, rank": ("serving_default", "anchors", lambda x: x[0], "must have shape"),
    "anchors, scalar": ("serving_default", "anchors", lambda x: 0.0, "must have shape"),
    "anchors, depth": ("serving_default", "anchors", lambda x: x[..., 1:], "must have shape"),
    "anchors, NaN": ("serving_default", "anchors", with_first(np.nan), "NaN"),
    "style, depth": ("serving_default", "style", lambda x: x[:, 1:], "must have shape"),
    "style, infinite": ("serving_default", "style", with_first(np.inf), "infinite"),
    "style, rows": ("serving_default", "style", lambda x: x[:1], "as many rows as `anchors`"),
    "no row": ("latents", "coordinates", lambda x: x[:0], "B at least 1"),
    "coordinates, length": ("latents", "coordinates", lambda x: x[:, 1:], "must have shape"),
    "coordinates, rank": ("latents", "coordinates", lambda x: x[None], "must have shape"),
    "half an excerpt": ("decode", "latents", lambda x: x[:, ::2], "k a multiple of 4"),
    "no excerpt": ("decode", "latents", lambda x: x[:, :0], "k a multiple of 4"),
    "latents, NaN": ("decode", "latents", with_first(np.nan), "NaN"),
    "overlap, length": ("decode", "overlap", lambda x: x[:, 1:], "must have shape"),
    "overlap, mono": ("decode", "overlap", lambda x: x[..., :1], "must have shape"),
    "overlap, infinite": ("decode", "overlap", with_first(-np.inf), "infinite"),
}


@pytest.mark.parametrize("what", BAD_INPUTS)
def test_bad_input_is_named(loaded, contract, what):
    signature, name, change, message = BAD_INPUTS[what]
    inputs = changed(contract[signature], name, change)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}`.*{message}"):
        loaded.signatures[signature](**tensors(inputs))


def test_bad_input_is_named_through_a_session(version, contract):
    inputs = changed(contract["serving_default"], "anchors", lambda x: x[..., 1:])
    outputs = verify_lib.LOADERS["session"](str(version), {"serving_default": (inputs, {})})
    with pytest.raises(tf.errors.InvalidArgumentError, match="`anchors` must have shape"):
        next(outputs)


# What must not pass


@pytest.fixture
def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])


def save_network(path, network, naively):
    """A model of one layer, and what it should give."""
    module = tf.Module()
    if naively:
        module.network = network
    else:
        module.weights = [variable.value for variable in network.weights]
    x = tf.TensorSpec([None, 3], name="x")
    function = tf.function(lambda x: {"y": network(x)}, autograph=False)
    tf.saved_model.save(module, str(path), signatures=function.get_concrete_function(x))
    inputs = np.ones((1, 3), np.float32)
    return {"serving_default": ({"x": inputs}, {"y": network(inputs).numpy()})}


def test_other_outputs_do_not_pass(tmp_path, network):
    cases = save_network(tmp_path, network, naively=False)
    cases["serving_default"][1]["y"][0, 0] += 1e-4
    with pytest.raises(ValueError) as error:
        verify_lib.verify(tmp_path, cases)
    for loader in verify_lib.LOADERS:
        assert re.search(rf"serving_default +{loader} +1.00e-04  > 1e-05", str(error.value))


def test_naive_export_does_not_pass(tmp_path, network):
    cases = save_network(tmp_path, network, naively=True)
    with pytest.raises(ValueError, match="Could not find variable"):
        verify_lib.verify(tmp_path, cases)


@pytest.mark.parametrize(
    ("outputs", "difference"),
    [
        ({"y": [1.0, 2.5]}, 0.5),
        ({"y": [1.0, np.nan]}, np.inf),
        ({"y": [1.0]}, np.inf),
        ({"z": [1.0, 2.0]}, np.inf),
    ],
)
def test_largest_difference(outputs, difference):
    outputs = {name: np.array(value) for name, value in outputs.items()}
    assert verify_lib.largest_difference(outputs, {"y": np.array([1.0, 2.0])}) == difference


class Unclean(tf.Module):
    """Functions that no exported model may hold, each one call deep."""

    def __init__(self):
        super().__init__()
        self.count = tf.Variable(0.0)

    def random(self, x):
        return x + tf.random.uniform([])

    def assign(self, x):
        return x + self.count.assign_add(1.0)

    def python(self, x):
        return tf.numpy_function(lambda x: x, [x], tf.float32)

    def compiled(self, x):
        return tf.function(lambda x: x + 1.0, jit_compile=True)(x)

    def in_a_branch(self, x):
        return tf.cond(x[0] > 0, lambda: x, lambda: tf.random.normal(tf.shape(x)))

    def clean(self, x):
        return x + self.count + tf.random.stateless_uniform([], [1, 2])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("random", "RandomUniform"),
        ("assign", "changes a variable"),
        ("python", "calls Python"),
        ("compiled", "must be compiled with XLA"),
        ("in_a_branch", "RandomStandardNormal"),
    ],
)
def test_unclean_graph_is_found(tmp_path, name, problem):
    errors = "\n".join(verify_lib.graph_errors(save_unclean(tmp_path, name)))
    assert errors.startswith("serving_default: ")
    assert problem in errors


def test_clean_graph_passes(tmp_path):
    assert not list(verify_lib.graph_errors(save_unclean(tmp_path, "clean")))


def save_unclean(path, name):
    module = Unclean()
    inner = tf.function(getattr(module, name), autograph=False)
    outer = tf.function(lambda x: {"y": inner(x)}, autograph=False)
    x = tf.TensorSpec([None], name="x")
    tf.saved_model.save(module, str(path), signatures=outer.get_concrete_function(x))
    return path


# Versions


@pytest.fixture
def quick_save(monkeypatch):
    """Leaves the slow part out: what is tested is where things go."""

    def save(synthesizer: Synthesizer, path):
        path.mkdir()
        return signatures.contract(synthesizer)

    monkeypatch.setattr(saved_model, "save", save)


def test_versions_count_up(tmp_path, run_dir, quick_save):
    for name in ("9", "10", "notes"):
        (tmp_path / name).mkdir()
    assert saved_model.export(run_dir, tmp_path, verify=False) == tmp_path / "11"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "11", "9", "notes"]


def test_what_does_not_pass_is_not_kept(tmp_path, run_dir, quick_save, monkeypatch):
    def fail(*_):
        raise ValueError("did not pass")

    monkeypatch.setattr(verify_lib, "verify", fail)
    monkeypatch.setattr(saved_model, "cases", lambda contract: {})
    with pytest.raises(ValueError, match="did not pass"):
        saved_model.export(run_dir, tmp_path)
    assert not list(tmp_path.iterdir())
