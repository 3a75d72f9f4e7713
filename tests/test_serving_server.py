"""A server as a whole: how it starts, what it says about its address, how it ends."""

from __future__ import annotations

import socket

import pytest
import requests
import serving_client

from export.serving import server as server_lib
from export.serving.server import Server
from export.serving.settings import Settings


@pytest.fixture
def warnings(monkeypatch):
    found = []
    monkeypatch.setattr(server_lib.logging, "warning", lambda *words: found.append(words))
    return found


@pytest.mark.parametrize("name", ["rest_port", "grpc_port"])
def test_failed_start_names_the_port_and_leaves_the_other_free(toy_dir, name):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("", 0)) as free:
        port, free_port = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        ports = dict.fromkeys(("rest_port", "grpc_port"), free_port) | {name: port}
        with pytest.raises(OSError, match=str(port)):
            Server(Settings(str(toy_dir), **ports)).__enter__()
    with Server(Settings(str(toy_dir), rest_port=free_port, grpc_port=0)):
        pass


def test_other_machines_are_warned_of(toy_dir, warnings):
    with serving_client.new_server(toy_dir, host="0.0.0.0") as server:
        assert serving_client.Rest(server.rest_port).page("/healthz").status_code == 200
    ((text, host),) = warnings
    assert "no password" in text and host == "0.0.0.0"


def test_ipv6(toy_dir, warnings):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with serving_client.new_server(toy_dir, host="::1") as server:
        assert server.address.startswith("REST http://[::1]:")
        root = f"http://[::1]:{server.rest_port}"
        assert requests.get(f"{root}/healthz", timeout=20).status_code == 200
    assert not warnings


def test_server_ends_with_idle_clients_connected(toy_dir):
    with serving_client.new_server(toy_dir) as server:
        rest = serving_client.Rest(server.rest_port)
        stub = serving_client.prediction_stub(server.grpc_port)
        assert rest.predict({"instances": [[1, 2]]}).status_code == 200
        assert stub.Predict(serving_client.predict_request({"x": [[1.0, 2.0]]}))
    with pytest.raises(requests.ConnectionError):
        rest.page("/healthz")
