"""gRPC by TensorFlow Serving's own stubs: answers, metadata, status, health, mistakes."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import serving_client
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_client import predict_request
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    regression_pb2,
)

X = np.array([[1, 2], [3.5, 4]], np.float32)


@pytest.fixture(scope="module")
def server(toy_dir):
    with serving_client.new_server(toy_dir, max_body_mib=0.5, max_response_mib=1) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server):
    return serving_client.prediction_stub(server.grpc_port)


@pytest.fixture(scope="module")
def status_stub(server):
    return model_service_pb2_grpc.ModelServiceStub(serving_client.channel(server.grpc_port))


def test_predict(stub):
    response = stub.Predict(predict_request({"x": X}))
    assert response.model_spec.name == "musika"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs) == ["y"]
    y = tf.make_ndarray(response.outputs["y"])
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, 2 * X)


def test_every_type(stub):
    wide, flag = np.array([2**40, -1]), np.array([True, False])
    outputs = stub.Predict(predict_request({"wide": wide, "flag": flag}, "types")).outputs
    assert tf.make_ndarray(outputs["wide"]).tolist() == wide.tolist()
    assert tf.make_ndarray(outputs["not"]).tolist() == [False, True]
    assert tf.make_ndarray(outputs["half"]).dtype == np.float16
    outputs = stub.Predict(predict_request({"words": [b"ab", b"\xff"]}, "text")).outputs
    assert tf.make_ndarray(outputs["wav_bytes"]).tolist() == [b"ab\xff", b"\xff\xff"]


def test_output_filter(stub):
    request = predict_request({"x": X, "n": np.int32([1, 2])}, "several")
    assert set(stub.Predict(request).outputs) == {"y", "next"}
    request.output_filter.append("next")
    assert set(stub.Predict(request).outputs) == {"next"}


def test_version_by_number(stub):
    request = predict_request({"x": X})
    request.model_spec.version.value = 3
    assert stub.Predict(request).model_spec.version.value == 3


def test_metadata(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "musika"
    response = stub.GetModelMetadata(request)
    assert response.model_spec.version.value == 3
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["several"].inputs["n"].dtype == tf.int32.as_datatype_enum
    request.metadata_field.append("weights")
    assert error_of(stub.GetModelMetadata, request)[0] == "INVALID_ARGUMENT"


def test_status(status_stub):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "musika"
    (status,) = status_stub.GetModelStatus(request).model_version_status
    assert status.version == 3
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert status.status.error_code == 0
    request.model_spec.version.value = 4
    assert error_of(status_stub.GetModelStatus, request) == (
        "NOT_FOUND",
        "version 4 of the model is unknown",
    )


def test_health(server):
    stub = health_pb2_grpc.HealthStub(serving_client.channel(server.grpc_port))
    response = stub.Check(health_pb2.HealthCheckRequest())
    assert response.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        next(stub.Watch(health_pb2.HealthCheckRequest()))
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def error_of(method, request, **how):
    with pytest.raises(grpc.RpcError) as error:
        method(request, **how)
    return error.value.code().name, error.value.details()


# What a request itself can have wrong, test_malformed_requests.py tries out.
BAD = {
    "odd type": (
        predict_request({"x": tensor_pb2.TensorProto(dtype=99)}),
        "INVALID_ARGUMENT",
        "`x` must be of type float32, not number 99",
    ),
    "refused": (
        predict_request({"x": np.float32(-1)}, "checked"),
        "INVALID_ARGUMENT",
        "`x` must be positive, not",
    ),
    "too large an answer": (
        predict_request({"n": np.int32([300_000])}, "zeros"),
        "RESOURCE_EXHAUSTED",
        "the answer has 1.1 MiB",
    ),
    "too long a message": (
        predict_request({"x": np.zeros((100_000, 2), np.float32)}),
        "RESOURCE_EXHAUSTED",
        "larger than max",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_mistake_is_explained_and_forgotten(stub, what):
    request, code, message = BAD[what]
    found = error_of(stub.Predict, request)
    assert found[0] == code
    assert message in found[1]
    assert "{{node" not in found[1]
    assert stub.Predict(predict_request({"x": X})).outputs["y"].tensor_shape.dim[0].size == 2


def test_deadline_of_the_client(stub):
    request = predict_request({"n": np.int32([2_000_000])}, "slow")
    assert error_of(stub.Predict, request, timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    assert stub.Predict(predict_request({"x": X}), timeout=10)


def test_what_is_not_served(stub, status_stub):
    for method, request in (
        (stub.Classify, classification_pb2.ClassificationRequest()),
        (stub.Regress, regression_pb2.RegressionRequest()),
        (stub.MultiInference, inference_pb2.MultiInferenceRequest()),
        (status_stub.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()),
    ):
        code, message = error_of(method, request)
        assert code == "UNIMPLEMENTED"
        assert message == "this method is not served here"
