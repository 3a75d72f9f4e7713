"""Verification: every loader calls, every check can fail, and what is unclean is found."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import saved_model
from export.verification import checks, graph, loaders, verify


@pytest.fixture
def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])


def save_network(path, network, naively):
    """A model of one layer."""
    module = tf.Module()
    if naively:
        module.network = network
    else:
        module.weights = [variable.value for variable in network.weights]
    x = tf.TensorSpec([None, 3], name="x")
    function = tf.function(lambda x: {"y": network(x)}, autograph=False)
    tf.saved_model.save(module, str(path), signatures=function.get_concrete_function(x))


def test_what_cannot_be_loaded_does_not_pass(tmp_path):
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(ValueError, match="did not pass:(.|\n)*SavedModel file does not exist"):
        verify.verify(tmp_path, {})


@pytest.mark.parametrize("load", [loaders.load_session, loaders.load_c])
def test_naive_export_is_found(tmp_path, network, load):
    save_network(tmp_path, network, naively=True)
    with pytest.raises(tf.errors.OpError, match="Could not find variable"):
        load(str(tmp_path))("serving_default", {"x": np.ones((1, 3), np.float32)})


@pytest.mark.parametrize("loader", loaders.LOADERS)
def test_loaders_call_signatures(tmp_path, network, loader):
    save_network(tmp_path, network, naively=False)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    outputs = loaders.LOADERS[loader](str(tmp_path))("serving_default", {"x": x})
    np.testing.assert_allclose(outputs["y"], network(x), atol=1e-6)


def test_c_api_misses_a_model(tmp_path):
    with pytest.raises(tf.errors.NotFoundError):
        loaders.load_c(str(tmp_path))


@pytest.fixture(scope="module")
def call(tiny_model):
    return loaders.load_python(str(tiny_model))


@pytest.fixture(scope="module")
def metadata(tiny_model):
    return json.loads((tiny_model / "metadata.json").read_text(encoding="utf-8"))


def with_noise(call):
    rng = np.random.default_rng(0)
    return changing_waveforms(
        call, lambda waveform: waveform + 1e-4 * rng.normal(size=waveform.shape)
    )


def with_batch_mean(call):
    return changing_waveforms(call, lambda waveform: waveform + waveform.mean(axis=0))


def changing_waveforms(call, change):
    def changed_call(signature, inputs):
        outputs = call(signature, inputs)
        return outputs | {k: change(v) for k, v in outputs.items() if k == "waveform"}

    return changed_call


def without_overlap(call):
    def changed_call(signature, inputs):
        if signature == "decode":
            inputs = {**inputs, "overlap": np.zeros_like(inputs["overlap"])}
        return call(signature, inputs)

    return changed_call


def accepting(call):
    def changed_call(signature, inputs):
        try:
            return call(signature, inputs)
        except tf.errors.InvalidArgumentError:
            return {}

    return changed_call


def nameless(call):
    def changed_call(signature, inputs):
        try:
            return call(signature, inputs)
        except tf.errors.InvalidArgumentError:
            raise tf.errors.InvalidArgumentError(None, None, "something is wrong") from None

    return changed_call


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (lambda call: call, []),
        (with_noise, ["decode, as the live networks", "decode, again", "decode, one row alone"]),
        pytest.param(
            with_batch_mean,
            ["decode, as the live networks", "decode, one row alone"],
            marks=pytest.mark.large,
        ),
        (without_overlap, ["streamed, 1 excerpts at a time", "streamed, 3 excerpts at a time"]),
        pytest.param(accepting, ["bad inputs, refused by name"], marks=pytest.mark.large),
        (nameless, ["bad inputs, refused by name"]),
    ],
)
def test_every_check_can_fail(tiny_model, contract, call, metadata, change, failing):
    cases = saved_model.cases({name: contract[name] for name in ("serving_default", "decode")})
    # Some sound before the chunk, or leaving it out would change nothing.
    cases["decode"][0]["overlap"][:] = 0.0
    cases["decode"] = cases["decode"][0], call("decode", cases["decode"][0])
    results = list(checks.run(change(call), cases, metadata, str(tiny_model)))
    failed = [result.check for result in results if not result.passed]
    assert [check for check in failed if not check.startswith("serving_default")][
        : len(failing)
    ] == failing
    assert bool(failed) == bool(failing)


def test_bad_warmup_request_is_found(tiny_model, call):
    def failing(signature, inputs):
        raise tf.errors.InvalidArgumentError(None, None, f"{signature} is broken")

    with pytest.raises(tf.errors.InvalidArgumentError, match="serving_default is broken"):
        list(checks._warmup(failing, tiny_model / checks.WARMUP_FILE))
    assert not list(checks._warmup(failing, tiny_model / "none"))


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
    assert checks.largest_difference(outputs, {"y": np.array([1.0, 2.0])}) == difference


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
    errors = "\n".join(graph.graph_errors(save_unclean(tmp_path, name)))
    assert errors.startswith("serving_default: ")
    assert problem in errors


def test_clean_graph_passes(tmp_path):
    assert not list(graph.graph_errors(save_unclean(tmp_path, "clean")))


def save_unclean(path, name):
    module = Unclean()
    inner = tf.function(getattr(module, name), autograph=False)
    outer = tf.function(lambda x: {"y": inner(x)}, autograph=False)
    x = tf.TensorSpec([None], name="x")
    tf.saved_model.save(module, str(path), signatures=outer.get_concrete_function(x))
    return path
