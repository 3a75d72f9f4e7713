"""Settings of a server: what they refuse."""

from __future__ import annotations

import pytest

from export.serving.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", "a/b"),
        ("model_name", "a:b"),
        ("model_name", "{a}"),
        ("model_name", ""),
        ("rest_port", -1),
        ("grpc_port", 65536),
        ("grpc_port", 8501),
        ("max_concurrency", 0),
        ("max_queue", -1),
        ("max_listeners", 513),
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


def test_good_values():
    settings = Settings("model", rest_port=0, grpc_port=0, max_body_mib=0.5, max_response_mib=2)
    assert (settings.max_body_bytes, settings.max_response_bytes) == (2**19, 2**21)
