"""REST as TensorFlow Serving documents it, and what it answers to mistakes."""

from __future__ import annotations

import concurrent.futures
import socket
import time

import numpy as np
import pytest
import serving_client
from prometheus_client import parser
from serving_client import n_steps_of_a_second, slow

LIMITS = {"max_body_mib": 0.5, "max_response_mib": 1, "max_concurrency": 2, "max_queue": 4}


@pytest.fixture(scope="module")
def server(toy_dir):
    with serving_client.new_server(toy_dir, **LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def rest(server):
    return serving_client.Rest(server.rest_port)


def test_both_formats(rest):
    answer = rest.predict({"instances": [[1, 2], [3.5, 4]]})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == {"predictions": [[2.0, 4.0], [7.0, 8.0]]}
    assert rest.predict({"inputs": {"x": [[1, 2]]}}).json() == {"outputs": [[2.0, 4.0]]}


def test_several_outputs(rest):
    rows = [{"x": [1, 2], "n": 5}, {"x": [0, 0], "n": -1}]
    answer = rest.predict({"signature_name": "several", "instances": rows})
    assert answer.json() == {
        "predictions": [{"y": [2.0, 4.0], "next": 6}, {"y": [0.0, 0.0], "next": 0}]
    }
    columns = {"x": [[1, 2]], "n": [5]}
    answer = rest.predict({"signature_name": "several", "inputs": columns})
    assert answer.json() == {"outputs": {"y": [[2.0, 4.0]], "next": [6]}}


def test_version_is_chosen_by_number(rest):
    assert rest.predict({"instances": [[1, 2]]}, version=3).status_code == 200
    answer = rest.predict({"instances": [[1, 2]]}, version=2)
    assert answer.status_code == 404
    assert answer.json() == {"error": "version 2 of the model is not served; version 3 is served"}


def test_status(rest):
    status = {"error_code": "OK", "error_message": ""}
    expected = {"model_version_status": [{"version": "3", "state": "AVAILABLE", "status": status}]}
    assert rest.get().json() == rest.get("/versions/3").json() == expected
    assert rest.get("/versions/4").status_code == 404


def test_metadata(rest):
    found = rest.get("/metadata").json()
    assert found == rest.get("/versions/3/metadata").json()
    assert found["model_spec"] == {"name": "musika", "signature_name": "", "version": "3"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    x = signatures["several"]["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT"
    assert [size["size"] for size in x["tensor_shape"]["dim"]] == ["-1", "2"]
    assert set(signatures["several"]["outputs"]) == {"y", "next"}


def test_pages(rest):
    assert rest.page("/healthz").status_code == 200
    rest.predict({"instances": [[1, 2]]})
    rest.predict({"inputs": -1, "signature_name": "checked"})
    rest.predict({"instances": [[1]], "signature_name": "made up"})
    text = rest.page("/metrics").text
    good = {"api": "rest", "signature": "serving_default"}
    assert sample(text, "requests_total", code="OK", **good) >= 1
    assert sample(text, "request_seconds_count", **good) >= 1
    bad = {"api": "rest", "code": "INVALID_ARGUMENT"}
    assert sample(text, "requests_total", signature="checked", **bad) >= 1
    assert sample(text, "requests_total", signature="other", **bad) >= 1
    assert sample(text, "current_version") == 3
    assert sample(text, "requests_in_flight") == sample(text, "requests_admitted") == 0
    assert sample(text, "load_failures_total") >= 0
    assert "process_resident_memory_bytes" in text
    assert "made up" not in text


def sample(text, name, **labels):
    """One value of a page of metrics."""
    for family in parser.text_string_to_metric_families(text):
        for found in family.samples:
            if found.name == f"musika_serve_{name}" and found.labels == labels:
                return found.value
    raise AssertionError(f"no {name} with {labels}")


# What a request itself can have wrong, test_malformed_requests.py tries out.
BAD = {
    "init": ({"instances": [1], "signature_name": "__saved_model_init_op"}, 400, "unknown"),
    "refused": ({"inputs": -1, "signature_name": "checked"}, 400, "`x` must be positive, not"),
    "too large an answer": ({"inputs": [300_000], "signature_name": "zeros"}, 413, "1.1 MiB"),
}


@pytest.mark.parametrize("what", BAD)
def test_mistake_is_explained_and_forgotten(rest, what):
    body, code, message = BAD[what]
    answer = rest.predict(body)
    assert answer.status_code == code
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert "{{node" not in answer.text
    assert rest.predict({"instances": [[1, 2]]}).json() == {"predictions": [[2.0, 4.0]]}


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", "/v1/models/musika:predict", 405, "Method Not Allowed: GET"),
        ("POST", "/v1/models/musika", 405, "Method Not Allowed: POST"),
        ("DELETE", "/metrics", 405, "Method Not Allowed: DELETE"),
        ("GET", "/v1/models/other", 404, "Not Found: GET /v1/models/other"),
        ("POST", "/v1/models/musika:classify", 404, "classify"),
        ("GET", "/v1/models/musika/versions/x", 404, "version x of the model is unknown"),
        ("GET", f"/v1/models/musika/versions/{2**63}/metadata", 404, f"version {2**63} of"),
        ("GET", "/", 404, "Not Found: GET /"),
    ],
)
def test_other_paths(rest, method, path, code, message):
    answer = rest._session.request(method, rest.root + path)
    assert answer.status_code == code
    assert message in answer.json()["error"]


def test_name_is_unquoted(rest):
    assert rest.page("/v1/models/musik%61").status_code == 200


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("n_bytes", [100_000, 600_000, 5_000_000])
def test_too_long_a_body(rest, in_chunks, n_bytes):
    body = b'{"instances": [[1, 2]]}'.ljust(n_bytes)
    answer = rest.predict(
        iter([body[i : i + 65536] for i in range(0, n_bytes, 65536)]) if in_chunks else body
    )
    if n_bytes < 2**19:
        assert answer.json() == {"predictions": [[2.0, 4.0]]}
    else:
        assert answer.status_code == 413
        assert answer.json() == {"error": "the body is longer than 0.5 MiB"}


def test_answers_do_not_wait_for_acknowledgements(rest):
    answers = [rest.predict({"instances": [[1, 2]]}) for _ in range(40)]
    # A delayed acknowledgement costs 40 ms each time, though not the first times.
    assert min(answer.elapsed.total_seconds() for answer in answers[20:]) < 0.03


def test_full_queue_refuses_at_once(server, rest):
    n = n_steps_of_a_second(rest)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        clients = [serving_client.Rest(server.rest_port) for _ in range(10)]
        answers = list(pool.map(lambda client: client.predict(slow(n // 2)), clients))
    codes = [answer.status_code for answer in answers]
    assert sorted(set(codes)) == [200, 429]
    # Two run and four wait; on a busy machine one may be done before the last one comes.
    assert codes.count(200) >= 6
    refused = answers[codes.index(429)]
    assert refused.elapsed.total_seconds() < 1
    assert refused.headers["Retry-After"] == "1"
    assert "6 requests are running or waiting" in refused.json()["error"]
    assert rest.predict({"instances": [[1, 2]]}).status_code == 200


@pytest.fixture
def impatient(toy_dir):
    with serving_client.new_server(toy_dir, max_concurrency=1, timeout_seconds=0.4) as impatient:
        yield impatient


def test_request_that_takes_too_long(impatient):
    client = serving_client.Rest(impatient.rest_port)
    answer = client.predict(slow(2**31 - 1))  # hours
    assert answer.status_code == 504
    assert answer.json() == {"error": "no answer within 0.4 s: ask for less at a time"}
    # TensorFlow gave up too, or the only thread would never be free. A busy machine needs a while.
    for _ in range(100):
        answer = client.predict({"instances": [[1, 2]]})
        if answer.status_code != 504:
            break
    assert answer.json() == {"predictions": [[2.0, 4.0]]}


def test_body_that_does_not_arrive(impatient):
    with socket.create_connection(("127.0.0.1", impatient.rest_port)) as connection:
        connection.sendall(
            b"POST /v1/models/musika:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        )
        # The server closes: it cannot know where another request would begin.
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 504")
    assert b"no answer within 0.4 s" in answer


def test_client_that_went_away_leaves_no_trace(server, rest):
    body = b'{"signature_name": "slow", "inputs": [1000]}'
    head = f"POST /v1/models/musika:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    # A process counts for all its servers, also for those that tests ended amid a request.
    before = n_admitted(rest)
    for sent in (b"", body[:10], body):
        with socket.create_connection(("127.0.0.1", server.rest_port)) as connection:
            connection.sendall(head.encode() + b"\r\n" + sent)
    deadline, n_quiet = time.monotonic() + 60, 0
    # A busy server admits them only after a while: once is not enough.
    while n_quiet < 20 and time.monotonic() < deadline:
        n_quiet = n_quiet + 1 if n_admitted(rest) == before else 0
        time.sleep(0.05)
    assert n_quiet == 20
    assert n_admitted(rest) == before


def n_admitted(rest):
    return sample(rest.page("/metrics").text, "requests_admitted")


def test_many_clients_at_once_get_their_own_answers(server):
    def ask(number):
        client = serving_client.Rest(server.rest_port)
        for step in range(20):
            answer = client.predict({"instances": [[number, step]]})
            if answer.status_code == 200:
                np.testing.assert_array_equal(
                    answer.json()["predictions"], [[2 * number, 2 * step]]
                )
        return True

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(6)))
