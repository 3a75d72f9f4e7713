"""Settings of a server: what they refuse, and what is loopback."""

from __future__ import annotations

import pytest

from export.serving.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", "a/b"),
        ("model_name", "a:b"),
        ("model_name", ""),
        ("rest_port", -1),
        ("grpc_port", 65536),
        ("grpc_port", 8501),
        ("max_concurrency", 0),
        ("max_queue", -1),
        ("max_body_mib", 0),
        ("max_response_mib", 2048),
        ("timeout_seconds", 0),
        ("timeout_seconds", float("nan")),
        ("poll_seconds", float("inf")),
        ("grace_seconds", -1),
    ],
)
def test_bad_value_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        Settings("model", **{name: value})


def test_both_ports_may_be_free_ones():
    assert Settings("model", rest_port=0, grpc_port=0).is_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(host, expected):
    assert Settings("model", host=host).is_loopback is expected


def test_sizes_in_bytes():
    settings = Settings("model", max_body_mib=0.5, max_response_mib=2)
    assert (settings.max_body_bytes, settings.max_response_bytes) == (2**19, 2**21)
