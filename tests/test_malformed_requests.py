"""A server answers whatever it is sent: two hundred malformed requests, and then a good one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import grpc
import malformed_grpc
import malformed_rest
import pytest
import requests
import serving_client
from hypothesis import HealthCheck, assume, given, settings
from tensorflow_serving.apis import predict_pb2

from export.serving.server import Server

pytestmark = pytest.mark.slow

N_REQUESTS = 100
TIMEOUT_SECONDS = 10.0
GRPC_CODES = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
)
# The same requests every time, and nothing remembered.
REPEATABLE = settings(
    max_examples=N_REQUESTS,
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(conditional_model) -> Iterator[Server]:
    with serving_client.new_server(conditional_model.parent, max_body_mib=1) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server) -> Iterator[grpc.Channel]:
    with serving_client.channel(server.grpc_port) as channel:
        yield channel


@pytest.fixture(scope="module")
def good_before(server, channel, conditional_contract) -> dict[str, bytes]:
    return good_answers(server, channel, conditional_contract)


def good_answers(server, channel, conditional_contract) -> dict[str, bytes]:
    """What good requests of every signature give, by REST and by gRPC."""
    answers = {}
    for name in conditional_contract:
        body = json.dumps(
            malformed_rest.good_json(conditional_contract, name, in_rows=True)
        ).encode()
        response = send_rest(
            server, malformed_rest.RestRequest("/v1/models/musika:predict", body, names=())
        )
        assert response.status_code == 200, response.text
        answers[f"REST {name}"] = response.content
        message = malformed_grpc.good_proto(conditional_contract, name).SerializeToString(
            deterministic=True
        )
        answer = predict_pb2.PredictResponse.FromString(
            send_grpc(
                channel, malformed_grpc.GrpcRequest(malformed_grpc.PREDICT, message, names=())
            )
        )
        assert set(answer.outputs) == set(conditional_contract[name].outputs)
        answers[f"gRPC {name}"] = answer.SerializeToString(deterministic=True)
    return answers


def send_rest(server, request: malformed_rest.RestRequest) -> requests.Response:
    return requests.request(
        "GET" if request.body is None else "POST",
        f"http://127.0.0.1:{server.rest_port}{request.path}",
        data=request.body,
        headers=request.headers,
        timeout=TIMEOUT_SECONDS,
    )


def send_grpc(channel, request: malformed_grpc.GrpcRequest) -> bytes:
    """The answer as it comes; the message goes as it is."""
    return channel.unary_unary(request.method)(request.message, timeout=TIMEOUT_SECONDS)


def names_one_of(message: str, names: tuple[str, ...]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) for name in names)


def check_rest(server, channel, request):
    response = send_rest(server, request)
    assert 400 <= response.status_code < 500, (response.status_code, response.text)
    assert names_one_of(response.json()["error"], request.names), response.text


def check_grpc(server, channel, request):
    with pytest.raises(grpc.RpcError) as error:
        send_grpc(channel, request)
    assert error.value.code() in GRPC_CODES, error.value
    assert names_one_of(error.value.details(), request.names), error.value.details()


@pytest.mark.parametrize(
    ("made", "refused"), [(malformed_rest, check_rest), (malformed_grpc, check_grpc)]
)
def test_malformed_requests(server, channel, conditional_contract, good_before, made, refused):
    seen = set()

    @REPEATABLE
    @given(made.malformed_requests(conditional_contract))
    def check(request):
        assume(repr(request) not in seen)
        started = time.monotonic()
        refused(server, channel, request)
        assert time.monotonic() - started < TIMEOUT_SECONDS
        seen.add(repr(request))

    check()
    assert len(seen) >= N_REQUESTS
    assert good_answers(server, channel, conditional_contract) == good_before


def test_bytes_that_are_no_message(server, channel, conditional_contract, good_before):
    # The library of gRPC answers these before the server sees them.
    for message in (
        b"\xff",
        b"\x0a\xff",
        malformed_grpc.good_proto(conditional_contract, "decode").SerializeToString()[:-1],
    ):
        with pytest.raises(grpc.RpcError) as error:
            send_grpc(
                channel, malformed_grpc.GrpcRequest(malformed_grpc.PREDICT, message, names=())
            )
        assert "Error parsing message" in error.value.details()
        assert error.value.code() is grpc.StatusCode.UNKNOWN
    assert good_answers(server, channel, conditional_contract) == good_before
