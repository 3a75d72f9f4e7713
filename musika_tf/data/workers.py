"""The same task for many items, in processes that may hang or crash without harm to the others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from musika_tf import progress

# Of this process, if it is a worker; 0: it may take as long as it likes.
_stuck_after_seconds = 0


def show_headway() -> None:
    """Called within a task as long as it gets on: a worker that does not is ended."""
    # The system's own default: no Python, which a stuck decoder would not let run, is needed.
    signal.alarm(_stuck_after_seconds)


@contextlib.contextmanager
def sharing_machine(n_workers: int) -> Iterator[None]:
    """Tells libraries in processes that begin meanwhile what they may take of this machine."""
    before = dict(os.environ)
    # The networks that annotate are small, and a training may be using the accelerator.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    n_threads = str(max(1, (os.cpu_count() or 1) // n_workers))
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, n_threads)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Task(Protocol):
    """What is done to each item. Instances, items and results travel between processes.

    It keeps its results on disk: asked again for the same item, it only reads them.
    """

    # Seconds without headway after which it counts as stuck; 0: never.
    stuck_after_seconds: int

    def __call__(self, item: Any) -> Any:
        """Does it. Its own mistakes and those of the disk are raised, and end the program."""

    def failed(self, item: Any, reason: str) -> Any:
        """The result for an item that made the process hang or crash."""


class Workers(Protocol):
    """Those who do a task for many items."""

    def map(self, task: Task, items: Sequence[Any], doing: str) -> Iterator[Any]:
        """Results in the order of the items; `doing` says to people what is being done."""


class Worker:
    """A process that does a task for one item after the other, and is replaced when it dies."""

    def __init__(self, task: Task):
        """Takes the task; the process starts with the first item."""
        self._task = task
        self._process: multiprocessing.process.BaseProcess | None = None

    def __call__(self, item: Any) -> Any:
        """The result for one item.

        Raises:
          ValueError: the process was killed from outside.
          Exception: whatever the task raised.
        """
        if self._process is None:
            self._start()
        try:
            self._pipe.send(item)
            result = self._pipe.recv()
        except (EOFError, OSError):
            return self._task.failed(item, self._reason_of_death())
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Ends the process and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()

    def _start(self) -> None:
        # Fresh processes: a forked copy of a process that runs threads (TensorFlow) can hang.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._task), daemon=True)
        self._process.start()
        theirs.close()

    def _reason_of_death(self) -> str:
        process = self._process
        if process is None:
            raise ValueError("interrupted")
        process.join()
        self.close()
        if process.exitcode == -signal.SIGKILL:
            raise ValueError(
                "a process that reads audio was killed, most likely for memory: n_workers must be "
                "smaller on this machine"
            )
        if process.exitcode == -signal.SIGALRM:
            return f"showed no headway for {self._task.stuck_after_seconds} s and was stopped"
        code = process.exitcode
        end = f"status {code}" if code >= 0 else signal.Signals(-code).name
        return f"crashed its process ({end})"


def _end_with_parent() -> None:
    """Ends this process, and what it started, when the program is killed that started it."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os.killpg(0, signal.SIGKILL)


def _serve(pipe: multiprocessing.connection.Connection, task: Task) -> None:
    global _stuck_after_seconds
    _stuck_after_seconds = task.stuck_after_seconds
    # With programs that it starts, it ends as one; Ctrl-C is left to who started it.
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Decoders write there what the report says in order.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            item = pipe.recv()
            show_headway()
            try:
                result = task(item)
            except Exception as error:
                result = error
            signal.alarm(0)
            pipe.send(result)


class NoWorkers:
    """This process itself, for tasks that take all of the machine."""

    def map(self, task: Task, items: Sequence[Any], doing: str) -> Iterator[Any]:
        yield from map(task, progress.bar(items, desc=doing, unit="file"))


@dataclasses.dataclass(frozen=True)
class LocalWorkers:
    """Worker processes of this machine, so many at once."""

    n_workers: int = 1

    def map(self, task: Task, items: Sequence[Any], doing: str) -> Iterator[Any]:
        workers, own = [], threading.local()

        def work(item: Any) -> Any:
            if not hasattr(own, "worker"):
                own.worker = Worker(task)
                workers.append(own.worker)
            return own.worker(item)

        n_threads = max(1, min(self.n_workers, len(items)))
        executor = concurrent.futures.ThreadPoolExecutor(n_threads)
        try:
            results = executor.map(work, items)
            yield from progress.bar(results, total=len(items), desc=doing, unit="file")
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.close()
            executor.shutdown()
