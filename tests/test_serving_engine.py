"""The engine: how many run, how many wait, how long, and what of their errors shows."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from grpc import StatusCode

from export.serving.engine import Engine
from export.serving.errors import ServingError
from export.serving.settings import Settings

WAIT_SECONDS = 20


class StubVersions:
    """Versions whose model is their number."""

    def model(self, number):
        if number == 404:
            raise ServingError(StatusCode.NOT_FOUND, "no such version")
        return number


class StubSignature:
    """Gives its inputs back, and remembers how long it could have taken."""

    name = "stub"

    def __call__(self, inputs, seconds):
        self.seconds = seconds
        return inputs


@pytest.fixture
def new_engine():
    engines = []

    def new(**settings):
        engines.append(Engine(Settings("model", **settings), StubVersions()))
        return engines[-1]

    yield new
    for engine in engines:
        engine.close()


async def answered(engine, answer, number=1, client_seconds=None):
    async with engine.admit("rest", client_seconds) as admitted:
        return await engine.run(admitted, number, answer)


def test_so_many_run_and_so_many_wait_in_order(new_engine):
    engine, go, order = new_engine(max_concurrency=2, max_queue=3), threading.Event(), []

    def answer(model, call):
        order.append(model)
        go.wait(WAIT_SECONDS)
        return model

    async def all_of_them():
        tasks = [asyncio.create_task(answered(engine, answer, n)) for n in range(5)]
        while len(order) < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(ServingError, match="5 requests are running or waiting") as error:
            await answered(engine, answer)
        assert error.value.http_status == 429
        await asyncio.sleep(0.05)
        assert order == [0, 1]
        go.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(all_of_them()) == list(range(5))
    # Two at a time: of neighbours either may be first.
    assert sorted(order) == list(range(5)) and max(abs(n - i) for i, n in enumerate(order)) <= 1


def test_place_is_free_after_every_end(new_engine):
    engine = new_engine(max_concurrency=1, max_queue=0)

    def fail(model, call):
        raise ServingError(StatusCode.INVALID_ARGUMENT, "`x` is wrong")

    async def one_after_the_other():
        for _ in range(3):
            with pytest.raises(ServingError, match="`x` is wrong"):
                await answered(engine, fail)
            with pytest.raises(ServingError, match="no such version"):
                await answered(engine, fail, number=404)
            with pytest.raises(KeyError):
                async with engine.admit("rest"):
                    raise KeyError  # a body that could not be read
        return await answered(engine, lambda model, call: model)

    assert asyncio.run(one_after_the_other()) == 1


def test_other_errors_tell_nothing_of_the_inside(new_engine):
    with pytest.raises(ServingError, match="^internal error$") as error:
        asyncio.run(answered(new_engine(), lambda model, call: 1 / 0))
    assert error.value.code is StatusCode.INTERNAL


@pytest.mark.parametrize("how", ["too late", "client gone"])
def test_request_that_nobody_waits_for_does_not_start(new_engine, how):
    engine, go, ran = new_engine(max_concurrency=1), threading.Event(), []
    started = threading.Event()

    async def first_and_second():
        first = asyncio.create_task(
            answered(engine, lambda *_: started.set() or go.wait(WAIT_SECONDS))
        )
        while not started.is_set():
            await asyncio.sleep(0.01)
        seconds = 0.01 if how == "too late" else None
        second = asyncio.create_task(answered(engine, lambda *_: ran.append(1), 1, seconds))
        await asyncio.sleep(0.1)
        if how == "client gone":
            second.cancel()
        expected = ServingError if how == "too late" else asyncio.CancelledError
        with pytest.raises(expected, match="no answer within 0.01 s" if seconds else None):
            await second
        go.set()
        assert await first
        await answered(engine, lambda *_: None)

    asyncio.run(first_and_second())
    assert not ran


@pytest.mark.parametrize(("client_seconds", "expected"), [(None, 5), (1000, 5), (2, 2)])
def test_own_deadline_only_shortens(new_engine, client_seconds, expected):
    signature = StubSignature()
    asyncio.run(
        answered(
            new_engine(timeout_seconds=5),
            lambda model, call: call(signature, {}),
            client_seconds=client_seconds,
        )
    )
    assert expected - 1 < signature.seconds <= expected + 0.2


def test_too_large_an_answer(new_engine):
    outputs = {"x": np.zeros(2**17), "text": np.array([b"abc"], object)}

    def ask():
        signature = StubSignature()
        work = answered(new_engine(max_response_mib=1), lambda m, call: call(signature, outputs))
        return asyncio.run(work)

    with pytest.raises(ServingError, match="1.0 MiB, more than max_response_mib, 1") as error:
        ask()
    assert error.value.http_status == 413
    del outputs["text"]
    assert ask() is outputs
