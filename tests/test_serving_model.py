"""The real model, at tiny size, through the server: what the SavedModel itself gives."""

from __future__ import annotations

import base64
import io
import pathlib
import shutil
import threading

import grpc
import numpy as np
import pytest
import serving_client
import soundfile
import tensorflow as tf

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    model_dir = tmp_path_factory.mktemp("model")
    shutil.copytree(tiny_model, model_dir / "1")
    with serving_client.new_server(model_dir) as server:
        yield server


def test_rest_and_grpc_give_what_the_saved_model_gives(server, contract):
    loaded = tf.saved_model.load(f"{server.settings.model_dir}/1")
    rest = serving_client.Rest(server.rest_port)
    stub = serving_client.prediction_stub(server.grpc_port)
    for name, signature in contract.items():
        inputs = signature.example(batch_size=2)
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        expected = {key: value.numpy() for key, value in loaded.signatures[name](**tensors).items()}
        body = {"signature_name": name, "inputs": {k: v.tolist() for k, v in inputs.items()}}
        by_rest = rest.predict(body).json()["outputs"]
        by_rest = by_rest if len(expected) > 1 else {next(iter(expected)): by_rest}
        response = stub.Predict(serving_client.predict_request(inputs, name))
        by_grpc = {key: tf.make_ndarray(proto) for key, proto in response.outputs.items()}
        for found in (by_rest, by_grpc):
            assert set(found) == set(expected)
            for key, value in expected.items():
                assert_close(found[key], value)


def assert_close(found, expected):
    if expected.dtype != object:
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
        return
    for wav, expected_wav in zip(found, expected, strict=True):
        wav = base64.b64decode(wav["b64"]) if isinstance(wav, dict) else wav
        samples, expected_samples = (samples_of(data) for data in (wav, expected_wav))
        # One step of 16 bits, where the two round to different sides.
        np.testing.assert_allclose(samples, expected_samples, rtol=0, atol=1.01 / 2**15)


def samples_of(wav):
    return soundfile.read(io.BytesIO(wav))[0]


def test_bad_input_is_named_as_the_model_names_it(server, contract):
    inputs = contract["serving_default"].example()
    inputs["anchors"] = inputs["anchors"][:, :1]
    body = {"inputs": {key: value.tolist() for key, value in inputs.items()}}
    answer = serving_client.Rest(server.rest_port).predict(body)
    assert answer.status_code == 400
    assert "`anchors` must have shape [B, A, 16] with" in answer.json()["error"]
    inputs = contract["serving_default"].example()
    inputs["anchors"][0, 0, 0] = np.nan
    stub = serving_client.prediction_stub(server.grpc_port)
    with pytest.raises(grpc.RpcError, match="`anchors` holds NaN") as error:
        stub.Predict(serving_client.predict_request(inputs))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_version_changes_lose_no_request(server, contract):
    """Clients ask on while a version comes and its folder goes again."""
    inputs = contract["latents"].example()
    stopped, problems, n_answers = threading.Event(), [], []

    def ask():
        stub = serving_client.prediction_stub(server.grpc_port)
        while not stopped.is_set():
            try:
                response = stub.Predict(serving_client.predict_request(inputs, "latents"))
                n_answers.append(response.model_spec.version.value)
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        model_dir = pathlib.Path(server.settings.model_dir)
        shutil.copytree(model_dir / "1", model_dir / ".2")
        (model_dir / ".2").rename(model_dir / "2")
        for _ in range(6000):
            if server.version == 2 and n_answers[-1:] == [2]:
                break
            stopped.wait(0.02)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert not problems
    assert set(n_answers) == {1, 2}
