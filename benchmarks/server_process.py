"""`musika-serve` as a process of its own, for the benchmarks that ask it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

import machine


class ServerProcess:
    """A server that runs.

    Attributes:
      rest_url, grpc_address: where it is asked.
      pid: of its process.
    """

    def __init__(self, pid: int, log: pathlib.Path, rest_url: str, grpc_address: str):
        self.pid, self._log = pid, log
        self.rest_url, self.grpc_address = rest_url, grpc_address

    def last_words(self) -> str:
        """The end of what it reported."""
        return self._log.read_text()[-2000:]

    def resources(self) -> tuple[float, int]:
        """RSS in MiB, and the number of open files."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        rss_kib = int(re.search(r"VmRSS:\s*(\d+) kB", status)[1])
        return rss_kib / 1024, len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self) -> float:
        """That it took so far."""
        return machine.cpu_seconds(pathlib.Path(f"/proc/{self.pid}"))


# From the signal to its end, requests under way included.
_GRACE_SECONDS = 120


@contextlib.contextmanager
def started(model_dir: pathlib.Path, words: Sequence[str] = ()) -> Iterator[ServerProcess]:
    """A server of a model, once it is ready; it is told to stop in the end.

    Raises:
      ValueError: it did not start, or ended badly; with what it said.
    """
    command = [sys.executable, "-m", "musika_tf.programs.serve", f"--model_dir={model_dir}"]
    command += ["--rest_port=0", "--grpc_port=0", *words]
    with tempfile.TemporaryDirectory() as temporary:
        log = pathlib.Path(temporary, "log")
        with log.open("w") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            line = process.stdout.readline()
            ready = re.search(r"REST (\S+), gRPC (\S+)", line)
            if ready:
                yield ServerProcess(process.pid, log, *ready.groups())
                process.send_signal(signal.SIGTERM)
            if process.wait(_GRACE_SECONDS):
                raise ValueError(f"the server failed: {line}{log.read_text()[-2000:]}")
        finally:
            process.kill()
            process.wait()
