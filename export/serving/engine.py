"""Where requests run, of REST and gRPC alike: so many at once, so many waiting, none for ever."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from absl import logging

from export.serving import errors
from export.serving.servable import Servable
from export.serving.settings import Settings
from export.serving.versions import Versions

Result = TypeVar("Result")


class Engine:
    """Runs requests on the versions of one model.

    Args:
      settings: its limits.
      versions: where requests find the version they run on.
    """

    def __init__(self, settings: Settings, versions: Versions):
        self._settings = settings
        self._versions = versions
        self._threads = concurrent.futures.ThreadPoolExecutor(
            settings.max_concurrency, thread_name_prefix="predict"
        )
        self._lock = threading.Lock()
        self._is_idle = threading.Condition(self._lock)
        self._n_admitted = 0
        self._n_running = 0
        self._is_accepting = True

    @property
    def is_accepting(self) -> bool:
        return self._is_accepting

    @property
    def n_running(self) -> int:
        return self._n_running

    @property
    def n_waiting(self) -> int:
        """Requests that are admitted and do not run: those that are being received too."""
        return max(0, self._n_admitted - self._n_running)

    def admit(self) -> Ticket:
        """Lets a request in, before its body is read: what is held in memory stays bounded.

        Raises:
          ServingError: the queue is full, or the server is about to stop.
        """
        limit = self._settings.max_concurrency + self._settings.max_queue
        with self._lock:
            if not self._is_accepting:
                raise errors.ServingError(errors.Code.UNAVAILABLE, "the server is shutting down")
            if self._n_admitted >= limit:
                raise errors.ServingError(
                    errors.Code.RESOURCE_EXHAUSTED,
                    f"{limit} requests are running or waiting already: try again later",
                )
            self._n_admitted += 1
        return Ticket(self, self._settings.timeout_seconds)

    def drain(self, grace_seconds: float) -> bool:
        """Refuses new requests and waits for those admitted; False if some are left."""
        with self._lock:
            self._is_accepting = False
            return self._is_idle.wait_for(lambda: self._n_admitted == 0, grace_seconds)

    def close(self) -> None:
        """Ends the threads. What still waits is cancelled, what still runs is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(
        self,
        ticket: Ticket,
        number: int | None,
        work: Callable[[Servable], Result],
    ) -> concurrent.futures.Future[Result]:
        held = contextlib.ExitStack()
        held.callback(ticket.close)
        # Here and not in the thread: from now on the version cannot go.
        servable = held.enter_context(self._versions.lease(number))

        def run() -> Result:
            ticket.check_deadline()
            with self._lock:
                self._n_running += 1
            try:
                return work(servable)
            except errors.ServingError as error:
                if error.code is errors.Code.DEADLINE_EXCEEDED:
                    raise ticket.timeout() from None
                raise
            except MemoryError:
                raise errors.ServingError(
                    errors.Code.RESOURCE_EXHAUSTED, "the request needs more memory than there is"
                ) from None
            except Exception as error:
                logging.exception("a request failed inside the server")
                raise errors.ServingError(errors.Code.INTERNAL, "internal error") from error
            finally:
                with self._lock:
                    self._n_running -= 1
                # Before the client can know: its next request finds the place free.
                held.close()

        try:
            future = self._threads.submit(run)
        except BaseException:
            held.close()
            raise
        # For one that is cancelled, or too late, before it runs.
        future.add_done_callback(lambda _: held.close())
        return future

    def _release(self) -> None:
        with self._lock:
            self._n_admitted -= 1
            if self._n_admitted == 0:
                self._is_idle.notify_all()

    def checked(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs, if they are not too large for an answer.

        Raises:
          ServingError: they are.
        """
        n_bytes = sum(_n_bytes(array) for array in outputs.values())
        if n_bytes > self._settings.max_response_bytes:
            raise errors.ServingError(
                errors.Code.RESOURCE_EXHAUSTED,
                f"the answer has {n_bytes / 2**20:.1f} MiB, more than max_response_mib, "
                f"{self._settings.max_response_mib:g}: ask for less at a time",
                http_status=413,
            )
        return outputs


class Ticket:
    """One admitted request: its place and its deadline. It must be run or closed."""

    def __init__(self, engine: Engine, timeout_seconds: float):
        self._engine = engine
        self._timeout_seconds = timeout_seconds
        self._deadline_seconds = time.monotonic() + timeout_seconds
        self._lock = threading.Lock()
        self._is_open = True
        self._is_started = False

    @property
    def remaining_seconds(self) -> float:
        return max(0.0, self._deadline_seconds - time.monotonic())

    def limit(self, timeout_seconds: float | None) -> None:
        """Brings the deadline forward to the client's own."""
        if timeout_seconds is not None and timeout_seconds < self.remaining_seconds:
            self._timeout_seconds = timeout_seconds
            self._deadline_seconds = time.monotonic() + timeout_seconds

    def start(
        self, number: int | None, work: Callable[[Servable], Result]
    ) -> concurrent.futures.Future[Result]:
        """Runs a request when its turn comes.

        Args:
          number: of the version, None for the newest.
          work: what to do with it, in a thread of the engine.

        Returns:
          Its result or ServingError. The place is free again when it is done, not when somebody
          stops waiting for it.

        Raises:
          ServingError: there is no such version.
        """
        future = self._engine._start(self, number, work)
        self._is_started = True
        return future

    def check_deadline(self) -> None:
        """Raises ServingError if the time is over."""
        if self.remaining_seconds == 0:
            raise self.timeout()

    def timeout(self) -> errors.ServingError:
        """The error of a request that took too long."""
        return errors.ServingError(
            errors.Code.DEADLINE_EXCEEDED,
            f"no answer within {self._timeout_seconds:.3g} s: ask for less at a time",
        )

    def close(self) -> None:
        """Gives the place back; harmless if it is given back already."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
        self._engine._release()

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, *_) -> None:
        # A request that was started keeps its place until it is done.
        if not self._is_started:
            self.close()


def _n_bytes(array: np.ndarray) -> int:
    if array.dtype == object:
        return sum(map(len, array.flat))
    return array.nbytes
