"""Worker processes: results in order, and hangs and crashes that harm one item alone."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from musika_tf.data.workers import LocalWorkers, show_headway


@dataclasses.dataclass(frozen=True)
class Doing:
    """Does what the item tells."""

    stuck_after_seconds: int = 1

    def __call__(self, item):
        verb, value = item
        if verb == "sleep":
            time.sleep(value)
        elif verb == "signal":
            os.kill(os.getpid(), value)
        elif verb == "exit":
            os._exit(value)
        elif verb == "write":
            pathlib.Path(f"{value}.new").write_text(str(os.getpid()))
            os.rename(f"{value}.new", value)
            time.sleep(1000)
        elif verb == "raise":
            raise value
        elif verb == "slow":
            for _ in range(value):
                time.sleep(0.5)
                show_headway()
        return f"{verb} done"

    def failed(self, item, reason):
        return reason


def _map(items, n_workers=2) -> list[str]:
    return list(LocalWorkers(n_workers).map(Doing(), items, "testing"))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_each_item_has_its_result(n_workers):
    items = [
        ("say", 0), ("sleep", 60), ("say", 1), ("signal", signal.SIGSEGV), ("exit", 3), ("slow", 4),
        ("say", 2),
    ]  # fmt: skip
    assert _map(items, n_workers) == [
        "say done", "showed no headway for 1 s and was stopped", "say done",
        "crashed its process (SIGSEGV)", "crashed its process (status 3)", "slow done", "say done",
    ]  # fmt: skip


def test_mistakes_of_the_task_end_the_program():
    begin = time.monotonic()
    with pytest.raises(ValueError, match="mine"):
        _map([("say", 0), ("raise", ValueError("mine")), *[("slow", 60)] * 5])
    assert time.monotonic() - begin < 20


def test_a_process_killed_from_outside_ends_the_program():
    with pytest.raises(ValueError, match="killed, most likely for memory: n_workers must be"):
        _map([("signal", signal.SIGKILL)])


_PROGRAM = """
import sys
import test_workers
from musika_tf.data.workers import LocalWorkers
if __name__ == "__main__":
    list(LocalWorkers().map(test_workers.Doing(0), [("write", sys.argv[1])], ""))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for processes")
def test_workers_end_with_their_program(tmp_path):
    (tmp_path / "program.py").write_text(_PROGRAM)
    environment = dict(os.environ) | {"PYTHONPATH": os.path.dirname(__file__)}
    command = [sys.executable, tmp_path / "program.py", tmp_path / "pid"]
    program = subprocess.Popen(command, env=environment)
    while not (tmp_path / "pid").exists():
        assert program.poll() is None
        time.sleep(0.02)
    program.kill()
    program.wait()
    (worker,) = (tmp_path / "pid").read_text().split()
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{worker}") and "State:\tZ" not in _status(worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _status(pid: str) -> str:
    with open(f"/proc/{pid}/status") as file:
        return file.read()
