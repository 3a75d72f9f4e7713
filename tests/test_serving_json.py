"""JSON ↔ arrays: TensorFlow Serving's two formats, and everything that fits neither."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from export.serving import errors, json_tensors
from export.serving.model import Signature

NAN, INF = float("nan"), float("inf")


def signature(**dtypes):
    inputs = {name: tf.TensorSpec(None, dtype, name) for name, dtype in dtypes.items()}
    return Signature("sig", inputs, ("y",), lambda *values: [np.zeros(1)])


TWO = signature(x="float32", n="int32")
ONE = signature(x="float32")


def arrays(body, wanted=TWO):
    text = body if isinstance(body, str) else json.dumps(body)
    model = types.SimpleNamespace(signature=lambda name: wanted)
    found, inputs, in_rows = json_tensors.read(text.encode(), model)
    assert found is wanted
    assert in_rows == ("instances" in text)
    return inputs


def test_rows_and_columns_are_the_same():
    rows = arrays({"instances": [{"x": [1, 2.5], "n": 3}, {"x": [4, 5], "n": -6}]})
    columns = arrays({"inputs": {"x": [[1, 2.5], [4, 5]], "n": [3, -6]}})
    for found in (rows, columns):
        assert found["x"].dtype == np.float32 and found["n"].dtype == np.int32
        np.testing.assert_array_equal(found["x"], [[1, 2.5], [4, 5]])
        np.testing.assert_array_equal(found["n"], [3, -6])


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_only_input_needs_no_name(key):
    np.testing.assert_array_equal(arrays({key: [[1.5], [2]]}, ONE)["x"], [[1.5], [2]])


def test_only_input_may_be_named():
    np.testing.assert_array_equal(arrays({"instances": [{"x": 1}, {"x": 2}]}, ONE)["x"], [1, 2])


@pytest.mark.parametrize("value", [[], [[]], [[], []]])
def test_empty_lists_have_shapes(value):
    assert arrays({"inputs": value}, ONE)["x"].shape == np.array(value).shape


BAD_VALUES = {
    "ragged": ("x", [[1, 2], [3]], "is ragged: at depth 1 its lists have lengths 1 to 2"),
    "list beside value": ("x", [[1], 2], "has lists beside values at depth 1"),
    "bool": ("x", [1.0, True], r"must hold a number everywhere \(float32\)"),
    "null": ("x", [None], "must hold a number"),
    "string": ("x", ["1"], "must hold a number"),
    "object": ("x", [{"b64": ""}], "must hold a number"),
    "beyond float32": ("x", [1e39], "holds 1e.39, too large for float32"),
    "beyond float64": ("x", 10**400, "holds a number too large for float32"),
    "whole beyond float32": ("x", [10**39], "holds 1e.39, too large for float32"),
    "fraction": ("n", 1.5, r"must hold a whole number everywhere \(int32\)"),
    "float": ("n", [1.0], "must hold a whole number"),
    "bool for a number": ("n", [True], "must hold a whole number"),
    "too large": ("n", [1, 2**31], "holds 2147483648, too large for int32"),
    "too small": ("n", [-(2**31) - 1], "holds -2147483649, too large for int32"),
    "huge": ("n", [10**300], "holds a number too large for int32"),
    "number for a bool": ("b", [1], "must hold true or false"),
    "string input": ("s", ["a"], "is of type string, which REST does not carry here: use gRPC"),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_bad_value_is_named(what):
    name, value, message = BAD_VALUES[what]
    spec = signature(x="float32", n="int32", b="bool", s="string").inputs[name]
    with pytest.raises(errors.ServingError, match=f"^`{name}` {message}"):
        json_tensors.array_of(spec, value)


def test_shape_is_that_of_the_signature():
    spec = tf.TensorSpec([None, 2], tf.float32, "x")
    for value in (json.loads("[" * 40 + "]" * 40), [[1.0]], 1.0, []):
        with pytest.raises(errors.ServingError, match=r"`x` must have shape \[\?, 2\], not"):
            json_tensors.array_of(spec, value)


def test_limits_of_whole_numbers_are_in():
    found = json_tensors.array_of(TWO.inputs["n"], [2**31 - 1, -(2**31)])
    assert found.tolist() == [2**31 - 1, -(2**31)]


BAD_BODIES = {
    "empty": ("", "not JSON"),
    "no JSON": ("anchors=1", "not JSON"),
    "cut": ('{"inputs": [1', "not JSON"),
    "NaN": ('{"inputs": [NaN]}', "not JSON, which has no NaN"),
    "huge exponent": ('{"inputs": 1e400}', "not JSON"),
    "deep": ("[" * 100_000, "not JSON"),
    "list": ("[1]", "must be a JSON object"),
    "neither": ("{}", "either `instances` or `inputs`"),
    "both": ('{"inputs": 1, "instances": [1]}', "either `instances` or `inputs`"),
    "typo": ('{"input": 1}', "unknown key `input`"),
    "signature": ('{"inputs": 1, "signature_name": 1}', "`signature_name` must be a string"),
    "no rows": ('{"instances": []}', "at least one row"),
    "rows, object": ('{"instances": {"x": 1}}', "must be a list"),
    "mixed rows": ('{"instances": [{"x": 1}, 2]}', "`x` missing"),
    "row lacks": ('{"instances": [{"x": 1}, {}]}', "`x` missing"),
    "row has more": ('{"instances": [{"x": 1, "y": 1}]}', "unknown input `y`"),
    "rows differ": ('{"instances": [{"x": [1]}, {"x": 1}]}', "`x` has lists beside values"),
    "ragged rows": ('{"instances": [[1], [1, 2]]}', "`x` is ragged"),
    "column lacks": ('{"inputs": {}}', "`x` missing: signature 'sig' takes `x`"),
    "column has more": ('{"inputs": {"x": 1, "z": 1}}', "unknown input `z`"),
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_bad_body_is_explained(what):
    body, message = BAD_BODIES[what]
    with pytest.raises(errors.ServingError, match=message) as error:
        arrays(body, ONE)
    assert error.value.http_status == 400


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_several_inputs_need_names(key):
    with pytest.raises(errors.ServingError, match=f"`{key}` must name the inputs .*`n`, `x`"):
        arrays({key: [1, 2]})


def answer(outputs, in_rows):
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    return json_tensors.answer(arrays, in_rows).decode()


FLOATS = np.array([[0.1, 1.0], [-3e-5, 2]], np.float32)


def test_one_output_has_no_name():
    assert answer({"y": FLOATS}, True) == '{"predictions":[[0.1,1.0],[-0.00003,2.0]]}'
    assert answer({"y": FLOATS}, False) == '{"outputs":[[0.1,1.0],[-0.00003,2.0]]}'


def test_several_outputs_have_names():
    outputs = {"n": np.array([1, 2], np.int32), "y": np.array([[0.5], [1.5]], np.float32)}
    assert answer(outputs, True) == '{"predictions":[{"n":1,"y":[0.5]},{"n":2,"y":[1.5]}]}'
    assert answer(outputs, False) == '{"outputs":{"n":[1,2],"y":[[0.5],[1.5]]}}'


def test_binary_values_are_base64():
    wav = np.array([b"ab", b"\xff"], object)
    assert answer({"wav_bytes": wav}, True) == '{"predictions":[{"b64":"YWI="},{"b64":"/w=="}]}'
    assert answer({"wav_bytes": wav[:, None], "n": [1, 2]}, True) == (
        '{"predictions":[{"wav_bytes":[{"b64":"YWI="}],"n":1},{"wav_bytes":[{"b64":"/w=="}],"n":2}]}'
    )


def test_numbers_that_are_not_finite_are_null():
    assert answer({"y": np.array([NAN, INF, 1.5])}, False) == '{"outputs":[null,null,1.5]}'


@pytest.mark.parametrize("value", [1.5, True, -3, np.zeros((0, 3)), FLOATS[:, ::-1], FLOATS.T])
def test_any_shape_is_written(value):
    expected = json.loads(json.dumps(np.asarray(value).tolist()))
    np.testing.assert_allclose(json.loads(answer({"y": value}, False))["outputs"], expected, 1e-6)


@pytest.mark.parametrize("other", [1.0, [1.0]])
def test_rows_need_a_common_batch(other):
    with pytest.raises(errors.ServingError, match="no common first size .*`inputs`"):
        answer({"y": [1.0, 2.0], "z": other}, True)


def test_float32_survives_the_round_trip():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    read = json.loads(answer({"y": values}, False))["outputs"]
    np.testing.assert_array_equal(np.array(read, np.float32), values)
