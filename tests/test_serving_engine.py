"""The engine: how many run, how many wait, how long, and how it ends."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading

import numpy as np
import pytest

from export.serving.engine import Engine
from export.serving.errors import Code, ServingError
from export.serving.settings import Settings

WAIT_SECONDS = 20


class StubVersions:
    """Versions whose servable is their number."""

    def __init__(self):
        self.n_leased = 0

    @contextlib.contextmanager
    def lease(self, number):
        if number == 404:
            raise ServingError(Code.NOT_FOUND, "no such version")
        self.n_leased += 1
        try:
            yield number
        finally:
            self.n_leased -= 1


@pytest.fixture
def versions():
    return StubVersions()


@pytest.fixture
def new_engine(versions):
    engines = []

    def new(**settings):
        engines.append(Engine(Settings("model", **settings), versions))
        return engines[-1]

    yield new
    for engine in engines:
        engine.close()


def start(engine, work, number=1):
    with engine.admit() as ticket:
        return ticket.start(number, work)


def test_result_comes_from_the_version_asked_for(new_engine, versions):
    engine = new_engine()
    assert start(engine, lambda servable: servable + 1, 41).result(WAIT_SECONDS) == 42
    assert engine.drain(WAIT_SECONDS)
    assert versions.n_leased == 0


def test_so_many_run_and_so_many_wait(new_engine, versions):
    engine, go, n_begun = new_engine(max_concurrency=2, max_queue=3), threading.Event(), []

    def work(_):
        n_begun.append(1)
        go.wait(WAIT_SECONDS)

    futures = [start(engine, work) for _ in range(5)]
    with pytest.raises(ServingError, match="5 requests are running or waiting") as error:
        engine.admit()
    assert error.value.http_status == 429
    assert versions.n_leased == 5
    for _ in range(12_000):
        if engine.n_running == 2:
            break
        go.wait(0.01)
    assert (len(n_begun), engine.n_running, engine.n_waiting) == (2, 2, 3)
    go.set()
    concurrent.futures.wait(futures, WAIT_SECONDS)
    assert engine.drain(WAIT_SECONDS)
    assert (engine.n_running, engine.n_waiting, versions.n_leased) == (0, 0, 0)


def test_order_of_arrival_is_kept(new_engine):
    engine, order = new_engine(max_concurrency=1), []
    for future in [start(engine, lambda _, i=i: order.append(i)) for i in range(20)]:
        future.result(WAIT_SECONDS)
    assert order == list(range(20))


def test_place_is_free_after_every_end(new_engine, versions):
    engine = new_engine(max_concurrency=1, max_queue=0)

    def fail(_):
        raise ServingError(Code.INVALID_ARGUMENT, "`x` is wrong")

    for _ in range(3):
        with pytest.raises(ServingError, match="`x` is wrong"):
            start(engine, fail).result(WAIT_SECONDS)
        with pytest.raises(ServingError, match="no such version"):
            start(engine, fail, number=404)
        with engine.admit():
            pass  # a body that could not be read
    assert start(engine, lambda _: 1).result(WAIT_SECONDS) == 1


@pytest.mark.parametrize(
    ("error", "code"), [(MemoryError(), "RESOURCE_EXHAUSTED"), (RuntimeError("x"), "INTERNAL")]
)
def test_other_errors_tell_nothing_of_the_inside(new_engine, error, code):
    def fail(_):
        raise error

    with pytest.raises(ServingError) as found:
        start(new_engine(), fail).result(WAIT_SECONDS)
    assert found.value.code is Code[code]
    assert "RuntimeError" not in str(found.value)


def test_request_that_waited_too_long_does_not_run(new_engine):
    engine, go, ran = new_engine(max_concurrency=1), threading.Event(), []
    first = start(engine, lambda _: go.wait(WAIT_SECONDS))
    with engine.admit() as ticket:
        ticket.limit(0.01)
        late = ticket.start(1, lambda _: ran.append(1))
    go.wait(0.05)
    assert ticket.remaining_seconds == 0
    go.set()
    first.result(WAIT_SECONDS)
    with pytest.raises(ServingError, match="no answer within 0.01 s") as error:
        late.result(WAIT_SECONDS)
    assert error.value.code is Code.DEADLINE_EXCEEDED
    assert not ran


def test_own_deadline_only_shortens(new_engine):
    ticket = new_engine(timeout_seconds=5).admit()
    ticket.limit(1000)
    ticket.limit(None)
    assert 4 < ticket.remaining_seconds <= 5
    ticket.close()
    ticket.close()


def test_cancelled_request_gives_all_back(new_engine, versions):
    engine, go = new_engine(max_concurrency=1), threading.Event()
    start(engine, lambda _: go.wait(WAIT_SECONDS))
    waiting = start(engine, lambda _: 1)
    assert waiting.cancel()
    assert versions.n_leased == 1
    go.set()
    assert engine.drain(WAIT_SECONDS)


def test_draining_refuses_and_waits(new_engine):
    engine, go = new_engine(), threading.Event()
    future = start(engine, lambda _: go.wait(WAIT_SECONDS))
    assert not engine.drain(grace_seconds=0.01)
    assert not engine.is_accepting
    with pytest.raises(ServingError, match="shutting down") as error:
        engine.admit()
    assert error.value.http_status == 503
    go.set()
    assert engine.drain(WAIT_SECONDS)
    assert future.result(WAIT_SECONDS)


def test_too_large_an_answer(new_engine):
    engine = new_engine(max_response_mib=1)
    outputs = {"x": np.zeros(2**17), "text": np.array([b"abc"], object)}
    with pytest.raises(ServingError, match="1.0 MiB, more than max_response_mib, 1") as error:
        engine.checked(outputs)
    assert error.value.http_status == 413
    del outputs["text"]
    assert engine.checked(outputs) is outputs
