"""How `musika-serve` holds out: eight clients of all kinds, while the versions of the model change.

    python benchmarks/serving.py --model_dir=models/piano --minutes=10 --out=serving.json

Starts the server as a program of its own on a copy of the model, puts a new version beside the old
one every --change_seconds, removes the old one when the new one is there, and counts what clients
see: latencies, refusals by the limit on waiting requests (which are tried again), and failures. An
answer that differs from an earlier one to the same request is a failure too. Prints a table in
Markdown, and writes it beside the JSON file.

The clients are threads of one process, so that they leave the cores to the server.
"""

from __future__ import annotations

import json
import pathlib
import shlex
import shutil
import sys
import tempfile
import threading
import time

import machine
import numpy as np
import server_process
from absl import app, flags
from serving_clients import POLL_SECONDS, TIMEOUT_SECONDS, Model, Soak, Tally

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Exported model.", required=True)
_MINUTES = flags.DEFINE_float("minutes", 10.0, "How long.", lower_bound=0.01)
_CHANGE_SECONDS = flags.DEFINE_float("change_seconds", 20.0, "From one version to the next.")
_SECONDS = flags.DEFINE_float("seconds", 6.0, "Length of the music that generate_wav is asked for.")
_SERVER_FLAGS = flags.DEFINE_string("server_flags", "", "Further flags of musika-serve.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write; the table goes to its name with .md.")

_SAMPLE_SECONDS = 2.0
_CHANGE = "new version serves"
_N_FAILURES_SHOWN = 20
# RSS "at" a share of the time: the median over this share before it, versions come and go in it.
_RSS_WINDOW = 0.1
_RSS_SHARES = (0.25, 0.5, 1.0)


class Versions:
    """The folder that is served, empty at first, in which copies of a version come and go."""

    def __init__(self, source: pathlib.Path, folder: pathlib.Path):
        self._source, self.folder, self.newest = source, folder, 0
        self.add()

    def add(self) -> None:
        """Puts the next version in place, all of it at once."""
        # Beside the folder, which the server watches, and on the same disk.
        unfinished = self.folder.with_name("unfinished")
        shutil.copytree(self._source, unfinished)
        unfinished.rename(self.folder / str(self.newest + 1))
        self.newest += 1

    def change(self, soak: Soak) -> None:
        """Changes the version again and again until the soak is over; the last change is ended."""
        while not soak.over.wait(_CHANGE_SECONDS.value):
            self.add()
            started = time.monotonic()
            while not soak.timed("REST status", lambda: soak.is_available(self.newest)):
                time.sleep(POLL_SECONDS)
                if time.monotonic() - started > TIMEOUT_SECONDS:
                    soak.tally.fail(_CHANGE, f"version {self.newest} did not come")
                    return
            soak.tally.add(_CHANGE, time.monotonic() - started)
            shutil.rmtree(self.folder / str(self.newest - 1))


def _watch(
    server: server_process.ServerProcess, n_seconds: float, soak: Soak
) -> list[tuple[float, float, int]]:
    """Lets the soak go on for its time; (seconds, RSS in MiB, open files) every few of them."""
    started, samples = time.monotonic(), [(0.0, *server.resources())]
    sample_seconds = min(_SAMPLE_SECONDS, n_seconds / 20)
    while (elapsed := time.monotonic() - started) < n_seconds:
        try:
            samples.append((elapsed, *server.resources()))
        except (OSError, TypeError):  # a process that ended has no RSS
            soak.tally.fail("server", "it ended")
            break
        time.sleep(sample_seconds)
    soak.over.set()
    return samples


def main(argv: list[str]) -> None:
    """Runs one soak."""
    del argv
    source = max(pathlib.Path(_MODEL_DIR.value).glob("[0-9]*"), key=lambda path: int(path.name))
    metadata = json.loads((source / "metadata.json").read_text(encoding="utf-8"))
    n_seconds = 60 * _MINUTES.value
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary, "model")
        folder.mkdir()
        versions = Versions(source, folder)
        words = shlex.split(_SERVER_FLAGS.value)
        with server_process.started(folder, words) as server:
            soak = Soak(Model(metadata, _SECONDS.value), server.rest_url, server.grpc_address)
            samples = _run(soak, versions, server, n_seconds)
            server_log = server.last_words()
    report = _report(soak, samples, n_seconds)
    text = _markdown(report)
    print(text)
    if _OUT.value:
        path = pathlib.Path(_OUT.value)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(text, encoding="utf-8")
    if report["n_failed"]:
        sys.exit(f"{report['n_failed']} failures; the server's last words:\n{server_log}")


def _run(
    soak: Soak, versions: Versions, server: server_process.ServerProcess, n_seconds: float
) -> list:
    works = [*soak.clients(), lambda: versions.change(soak)]
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        return _watch(server, n_seconds, soak)
    finally:
        soak.over.set()
        for thread in threads:
            thread.join()


def _report(soak: Soak, samples: list, n_seconds: float) -> dict:
    tally = soak.tally
    kinds = sorted({*tally.latencies_seconds, *tally.n_refused, *tally.n_failed})
    times, rss_mib, n_files = (np.array(column) for column in zip(*samples, strict=True))
    at = {
        f"{100 * share:.0f} %": (times > (share - _RSS_WINDOW) * n_seconds)
        & (times <= share * n_seconds)
        for share in _RSS_SHARES
    }
    return {
        "machine": machine.describe(),
        "model": soak.model.metadata["weights_sha256"],
        "settings": {flag.name: flag.value for flag in (_MINUTES, _CHANGE_SECONDS, _SECONDS)}
        | {"server_flags": _SERVER_FLAGS.value, "n_clients": len(soak.clients())},
        "kinds": {kind: _numbers(tally, kind) for kind in kinds},
        "n_failed": sum(tally.n_failed.values()),
        "failures": tally.failures[:_N_FAILURES_SHOWN],
        "n_version_changes": len(tally.latencies_seconds[_CHANGE]),
        "rss_mib": {name: float(np.median(rss_mib[inside])) for name, inside in at.items()}
        | {"peak": float(rss_mib.max())},
        "open_files": {name: float(np.median(n_files[inside])) for name, inside in at.items()},
        "samples_seconds_mib_files": [(round(t, 1), round(mib, 1), n) for t, mib, n in samples],
    }


def _numbers(tally: Tally, kind: str) -> dict:
    found = {
        "n": len(tally.latencies_seconds[kind]),
        "n_refused": tally.n_refused[kind],
        "n_failed": tally.n_failed[kind],
    }
    for percent in (50, 95, 99):
        values = tally.latencies_seconds[kind]
        found[f"p{percent}_ms"] = 1e3 * float(np.percentile(values, percent)) if values else None
    return found


def _markdown(report: dict) -> str:
    settings, where = report["settings"], report["machine"]
    lines = [
        f"{settings['n_clients']} clients for {settings['minutes']:g} minutes, "
        f"{report['n_version_changes']} changes of version, on {where['processor']} "
        f"({where['n_cpu_cores']} cores, clients included), TensorFlow {where['tensorflow']}, "
        f"{where['date']}",
        "",
        machine.heading(
            "request", "n", *"p50 ms", "p95 ms", "p99 ms", "refused", "failed", n_words=1
        ).rstrip(),
    ]
    for kind, row in report["kinds"].items():
        times = ("–" if row[f"p{p}_ms"] is None else f"{row[f'p{p}_ms']:.0f}" for p in (50, 95, 99))
        counts = (row["n_refused"], row["n_failed"])
        lines.append(machine.line(kind, row["n"], *times, *counts))
    rss = ", ".join(f"{mib:.0f} MiB ({name})" for name, mib in report["rss_mib"].items())
    files = ", ".join(f"{n:.0f} ({name})" for name, n in report["open_files"].items())
    lines += ["", f"Memory of the server (RSS): {rss}; open files: {files}.", ""]
    return "\n".join([*lines, *report["failures"]])


if __name__ == "__main__":
    app.run(main)
