"""Where requests run, of REST and gRPC alike: so many at once, so many waiting, none for ever."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

import numpy as np
from absl import logging
from grpc import StatusCode

from export.serving import metrics
from export.serving.errors import ServingError
from export.serving.model import Model, Signature
from export.serving.settings import Settings
from export.serving.versions import Versions

Result = TypeVar("Result")
Arrays = Mapping[str, np.ndarray]
# Runs a signature with its inputs, within the limits of a request.
Call = Callable[[Signature, Arrays], Arrays]
# The client learns first that it is too late.
_TENSORFLOW_LATER_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Admitted:
    """A request with a place; its deadline is by time.monotonic()."""

    tracked: metrics.Tracked
    deadline_seconds: float


class Engine:
    """Runs requests on the newest version; all but the work itself happens in one event loop."""

    def __init__(self, settings: Settings, versions: Versions):
        self.settings, self.versions = settings, versions
        self._threads = concurrent.futures.ThreadPoolExecutor(settings.max_concurrency, "predict")
        self._n_admitted = 0

    @contextlib.asynccontextmanager
    async def admit(self, api: str, client_seconds: float | None = None) -> AsyncIterator[Admitted]:
        """Lets a request in, before its body is read: what is held in memory stays bounded.

        Args:
          api: `rest` or `grpc`.
          client_seconds: how long the client waits, if it says so.

        Raises:
          ServingError: the queue is full, or what happens inside takes too long.
        """
        limit = self.settings.max_concurrency + self.settings.max_queue
        seconds = self.settings.timeout_seconds
        if client_seconds is not None:
            seconds = min(seconds, client_seconds)
        with metrics.tracked(api) as tracked:
            if self._n_admitted >= limit:
                raise ServingError(
                    StatusCode.RESOURCE_EXHAUSTED,
                    f"{limit} requests are running or waiting already: try again later",
                )
            self._n_admitted += 1
            try:
                with metrics.ADMITTED.track_inprogress():
                    async with asyncio.timeout(seconds):
                        yield Admitted(tracked, time.monotonic() + seconds)
            except TimeoutError:
                raise ServingError(
                    StatusCode.DEADLINE_EXCEEDED,
                    f"no answer within {seconds:.3g} s: ask for less at a time",
                ) from None
            finally:
                self._n_admitted -= 1

    async def run(
        self, admitted: Admitted, number: int | str | None, answer: Callable[[Model, Call], Result]
    ) -> Result:
        """Answers a request in a thread when its turn comes; cancelled before, it never starts.

        Args:
          number: of the version that it asks for, None for the newest.
          answer: reads the request, calls a signature of the model, writes the answer.

        Raises:
          ServingError: the version is not there, the request is bad, the answer too large, or
            something inside failed.
        """

        def work() -> Result:
            try:
                with metrics.RUNNING.track_inprogress():
                    model = self.versions.model(number)
                    return answer(model, functools.partial(self._call, admitted))
            except ServingError:
                raise
            except Exception:
                logging.exception("a request failed inside the server")
                raise ServingError(StatusCode.INTERNAL, "internal error") from None

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _call(self, admitted: Admitted, signature: Signature, inputs: Arrays) -> Arrays:
        admitted.tracked.signature = signature.name
        left_seconds = admitted.deadline_seconds - time.monotonic()
        outputs = signature(inputs, left_seconds + _TENSORFLOW_LATER_SECONDS)
        n_bytes = sum(
            sum(map(len, array.flat)) if array.dtype == object else array.nbytes
            for array in outputs.values()
        )
        if n_bytes > self.settings.max_response_bytes:
            raise ServingError(
                StatusCode.RESOURCE_EXHAUSTED,
                f"the answer has {n_bytes / 2**20:.1f} MiB, more than max_response_mib, "
                f"{self.settings.max_response_mib:g}: ask for less at a time",
                http_status=413,
            )
        return outputs

    def close(self) -> None:
        """Ends the threads. What still waits is cancelled, what still runs is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
