"""Programs in processes of their own that need not import TensorFlow again.

Of the project's programs one run each is a plain `python -m`, as a user's; the others begin as
copies of a process that has imported what they import, but has run nothing.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import weakref

ROOT = pathlib.Path(__file__).resolve().parent.parent

# No module that defines flags: each program has those that it imports itself.
_PRELOADED = (
    "musika_tf.training.stage",
    "musika_tf.training.lowering",
    "musika_tf.evaluation.adherence_report",
    "musika_tf.evaluation.quality_report",
    "export.saved_model",
)
_FORK_SERVER = multiprocessing.get_context("forkserver")
_FORK_SERVER.set_forkserver_preload(list(_PRELOADED))


class Process:
    """A running module or script; what it prints is kept in files until it has ended.

    Args:
      target: name of a module, or path of a script.
      words: of its command line.
      environment: variables besides those of this process.
    """

    def __init__(self, target: str | pathlib.Path, *words: object, **environment: str):
        self._outputs = [tempfile.NamedTemporaryFile("r") for _ in range(2)]
        arguments = (
            str(target),
            [str(word) for word in words],
            dict(os.environ) | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
            [file.name for file in self._outputs],
        )
        self._process = _FORK_SERVER.Process(target=_run, args=arguments)
        self._process.start()
        # Whatever becomes of the test.
        weakref.finalize(self, _end, self._process)

    def poll(self) -> int | None:
        """The exit status, or None as long as it runs."""
        return self._process.exitcode

    def must_run(self) -> None:
        """Says what it printed if it has ended."""
        assert self.poll() is None, self.finish()

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        os.kill(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Ends it at once."""
        _end(self._process)

    def finish(self, timeout_seconds: float = 300.0) -> subprocess.CompletedProcess:
        """Waits for its end."""
        self._process.join(timeout_seconds)
        if self.poll() is None:
            self.kill()
            raise TimeoutError(f"{self._process} ran longer than {timeout_seconds} s")
        texts = [file.read() for file in self._outputs]
        return subprocess.CompletedProcess(self._process.name, self.poll(), *texts)

    def succeed(self) -> None:
        """Waits for its end, which must be a success."""
        done = self.finish()
        assert done.returncode == 0, done.stdout + done.stderr


def run(
    program: str, *words: object, ok: bool = True, timeout_seconds: float = 300.0
) -> subprocess.CompletedProcess:
    """A program of the project, from its start to its end, which must be one of success or not."""
    done = Process(f"musika_tf.programs.{program}", *words).finish(timeout_seconds)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done


def run_plain(program: str, *words: object, ok: bool = True) -> subprocess.CompletedProcess:
    """The same as a user starts it."""
    command = [sys.executable, "-m", f"musika_tf.programs.{program}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done


def _end(process: multiprocessing.process.BaseProcess) -> None:
    if process.is_alive():
        process.kill()
        process.join()


def _end_with_the_tests() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _run(target: str, words: list[str], environment: dict[str, str], outputs: list[str]) -> None:
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    for descriptor, name in enumerate(outputs, start=1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), descriptor)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [target, *words]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)
