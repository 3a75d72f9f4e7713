"""JSON ↔ arrays: TensorFlow Serving's two formats, and everything that fits neither."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from export.serving import errors, json_tensors
from export.serving.servable import Input, Signature

NAN, INF = float("nan"), float("inf")


def signature(**dtypes):
    inputs = {n: Input(n, tf.dtypes.as_dtype(d), tf.TensorShape(None)) for n, d in dtypes.items()}
    return Signature("sig", inputs, ("y",), lambda *values: [np.zeros(1)])


TWO = signature(x="float32", n="int32")
ONE = signature(x="float32")


def arrays(body, wanted=TWO):
    text = body if isinstance(body, str) else json.dumps(body)
    return json_tensors.parse(text.encode()).arrays(wanted)


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


def test_strings_are_text_or_base64():
    words = signature(words="string")
    body = {"instances": ["hé", {"b64": "/wA="}]}
    assert arrays(body, words)["words"].tolist() == ["hé".encode(), b"\xff\x00"]
    assert arrays({"inputs": {"b64": "/wA="}}, words)["words"].tolist() == b"\xff\x00"


def test_tokens_that_json_lacks_are_floats():
    found = arrays('{"inputs": [NaN, Infinity, -Infinity, 1e38]}', ONE)["x"]
    np.testing.assert_array_equal(found, np.array([NAN, INF, -INF, 1e38], np.float32))


@pytest.mark.parametrize("value", [[], [[]], [[], []]])
def test_empty_lists_have_shapes(value):
    assert arrays({"inputs": value}, ONE)["x"].shape == np.array(value).shape


BAD_VALUES = {
    "ragged": ([[1, 2], [3]], "`x` is ragged: at depth 1 its lists have lengths 1 to 2"),
    "list beside value": ([[1], 2], "`x` has lists beside values at depth 1"),
    "deep": (json.loads("[" * 40 + "]" * 40), "`x` is nested more than 32 levels deep"),
    "bool": ([1.0, True], "`x` must hold a number everywhere .float32., not true or false"),
    "null": ([None], "`x` must hold a number everywhere .float32., not null"),
    "string": (["1"], "`x` must hold .* not a string"),
    "object": ([{"a": 1}], "unknown input|`x` must hold .* not an object"),
    "b64": ([{"b64": ""}], "`x` must hold .* not an object"),
    "beyond float32": ([1e39], "`x` holds 1e.39, too large for float32"),
    "beyond float64": (10**400, "too large"),
    "beyond int64": (10**39, "`x` holds 1e.39, too large for float32"),
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_bad_float_is_named(what):
    value, message = BAD_VALUES[what]
    with pytest.raises(errors.ServingError, match=message) as error:
        json_tensors.array_of(ONE.inputs["x"], value)
    assert error.value.code is errors.Code.INVALID_ARGUMENT


BAD_WHOLE = {
    "fraction": (1.5, "`n` must hold a whole number everywhere .int32., not a fraction"),
    "float": (1.0, "not a fraction"),
    "NaN": (NAN, "not a fraction"),
    "bool": (True, "not true or false"),
    "too large": (2**31, "`n` must hold numbers from -2147483648 to 2147483647 .*not 2147483648"),
    "too small": (-(2**31) - 1, "not -2147483649"),
    "huge": (10**300, "not a number of 997 bits"),
}


@pytest.mark.parametrize("what", BAD_WHOLE)
def test_bad_whole_number_is_named(what):
    value, message = BAD_WHOLE[what]
    with pytest.raises(errors.ServingError, match=message):
        json_tensors.array_of(TWO.inputs["n"], [value])


def test_limits_of_whole_numbers_are_in():
    found = json_tensors.array_of(TWO.inputs["n"], [2**31 - 1, -(2**31)])
    assert found.tolist() == [2**31 - 1, -(2**31)]


BAD_TEXT = {
    "not base64": ({"b64": "!"}, "`words` holds text that is not base64"),
    "more than b64": ({"b64": "", "a": 1}, "`words` holds an object that is not"),
    "b64 of a number": ({"b64": 1}, "`words` holds an object that is not"),
    "number": (1, "`words` must hold a string"),
}


@pytest.mark.parametrize("what", BAD_TEXT)
def test_bad_text_is_named(what):
    value, message = BAD_TEXT[what]
    with pytest.raises(errors.ServingError, match=message):
        json_tensors.array_of(signature(words="string").inputs["words"], [value])


BAD_BODIES = {
    "empty": ("", "no body"),
    "no JSON": ("anchors=1", "not JSON"),
    "cut": ('{"inputs": [1', "not JSON"),
    "cut, NaN": ('{"inputs": [NaN', "not JSON"),
    "huge exponent": ('{"inputs": 1e400}', "not JSON"),
    "deep": ("[" * 100_000, "not JSON"),
    "deep, NaN": ('{"NaN": ' + "[" * 100_000, "not JSON"),
    "not UTF-8, NaN": ('{"inputs": "NaN\\ud800"}', "`x` must hold"),
    "list": ("[1]", "must be a JSON object"),
    "neither": ("{}", "either `instances` or `inputs`"),
    "both": ('{"inputs": 1, "instances": [1]}', "either `instances` or `inputs`"),
    "typo": ('{"input": 1}', "unknown key `input`"),
    "signature": ('{"inputs": 1, "signature_name": 1}', "`signature_name` must be a string"),
    "no rows": ('{"instances": []}', "at least one row"),
    "rows, object": ('{"instances": {"x": 1}}', "must be a list"),
    "mixed rows": ('{"instances": [{"x": 1}, 2]}', "row 1 of `instances` is a whole number"),
    "row lacks": ('{"instances": [{"x": 1}, {}]}', "row 1 of `instances`: `x` missing"),
    "row has more": ('{"instances": [{"x": 1, "y": 1}]}', "row 0 .*unknown input `y`"),
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
    with pytest.raises(errors.ServingError, match=f"`{key}` must name the inputs .*`x`, `n`"):
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


def test_only_names_that_say_bytes_are_base64():
    text = np.array([b"ab", "é".encode()], object)
    assert answer({"text": text}, True) == '{"predictions":["ab","é"]}'
    assert answer({"wav_bytes": text}, True) == '{"predictions":[{"b64":"YWI="},{"b64":"w6k="}]}'
    assert answer({"text": np.array([b"\xff"], object)}, True) == '{"predictions":[{"b64":"/w=="}]}'


def test_numbers_that_are_not_finite_are_written_as_tokens():
    assert answer({"y": np.array([NAN, INF, -INF, 1.5])}, False) == (
        '{"outputs":[NaN,Infinity,-Infinity,1.5]}'
    )


@pytest.mark.parametrize("value", [1.5, True, -3, np.zeros((0, 3)), np.zeros((2, 0)).tolist()])
def test_any_shape_is_written(value):
    assert json.loads(answer({"y": value}, False))["outputs"] == np.asarray(value).tolist()


@pytest.mark.parametrize("other", [1.0, [1.0]])
def test_rows_need_a_common_batch(other):
    with pytest.raises(errors.ServingError, match="no common first size .*`inputs`"):
        answer({"y": [1.0, 2.0], "z": other}, True)


def test_type_that_json_lacks_is_named():
    with pytest.raises(errors.ServingError, match="output `y` is of type float16.*gRPC"):
        answer({"y": np.zeros(1, np.float16)}, True)
    with pytest.raises(errors.ServingError, match="`x` is of type float16.*gRPC"):
        arrays({"inputs": [1]}, signature(x="float16"))


def test_float32_survives_the_round_trip():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    read = json.loads(answer({"y": values}, False))["outputs"]
    np.testing.assert_array_equal(np.array(read, np.float32), values)
