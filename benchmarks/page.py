"""What the page costs a listener: until it sounds, × real time, to download, in memory.

    musika-web --model_dir=piano --model_dir=techno --model_dir=orchestral --out=site
    python benchmarks/page.py --page=site --weights=weights --out=page.json

Opens the page of each model in a headless Chromium of its own (`apt install chromium`), clicks play
as soon as it can be, and has it compute a minute; then the Player makes the same minute from the
weights of the same name. × real time is told by the clock, and by the time that a core spent on it,
which other programs on the machine change less. Prints a table in Markdown.
"""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import os
import pathlib
import shutil
import threading
import time

import machine
from absl import app, flags
from playwright import sync_api

from musika_tf.player import open_player

_PAGE = flags.DEFINE_string("page", None, "Folder of musika-web.", required=True)
_WEIGHTS = flags.DEFINE_string("weights", "weights", "Folder of the models' weights.")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "Length of the music.", lower_bound=1.0)
_N_TRIALS = flags.DEFINE_integer("n_trials", 3, "Of which the quickest counts.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "JSON file to write; the table goes to its name with .md.")

# Runs before the page does: says when it can play, and when the audio thread has moved.
_WATCH = """
globalThis.times = {};
const watching = setInterval(() => {
    const play = document.getElementById("play");
    if (!globalThis.musika || !play || play.disabled) return;
    if (times.ready === undefined) {
        times.ready = performance.now();
        play.click();
    } else if (musika.player.position > musika.state.startSample) {
        times.sound = performance.now();
        clearInterval(watching);
    }
}, 2);
"""
_RENDER = """(nSamples) => new Promise((resolve, fail) => {
    const { player, state } = musika, { seed, truncation, controls } = state;
    player.addEventListener("rendered", () => resolve(performance.now() - began), { once: true });
    player.addEventListener("error", ({ detail }) => fail(new Error(detail)));
    const began = performance.now();
    player.render({ seed, style: [{ seed, weight: 1 }], truncation, controls }, 0, nSamples);
})"""


@dataclasses.dataclass
class Row:
    """One model; seconds from the request of the page on, megabytes of 10^6 bytes."""

    model: str
    ready_seconds: float
    first_sound_seconds: float
    x_real_time: float
    x_real_time_of_a_core: float
    native_x_real_time: float
    native_x_real_time_of_a_core: float
    download_mb: float
    memory_mb: float


def _descendants(pid: int) -> list[int]:
    """Processes that a process started, and theirs."""
    own = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(word) for path in own for word in path.read_text().split()]
    return [*children, *(found for child in children for found in _descendants(child))]


def _worker() -> pathlib.Path:
    """The thread that computes, in /proc."""
    for pid in _descendants(os.getpid()):
        for thread in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            if thread.joinpath("comm").read_text().startswith("DedicatedWorker"):
                return thread
    raise ValueError("the page has no worker")


def _memory_mb(thread: pathlib.Path) -> float:
    """Of the process of a thread; what it shares with others in parts."""
    text = thread.parents[1].joinpath("smaps_rollup").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024 / 1e6


class _Host(http.server.SimpleHTTPRequestHandler):
    """Any file host, which counts."""

    n_bytes = 0

    def copyfile(self, source, outputfile) -> None:
        type(self).n_bytes += os.fstat(source.fileno()).st_size
        super().copyfile(source, outputfile)

    def log_message(self, format: str, *args) -> None:
        pass


def _native(weights: pathlib.Path, n_samples: int) -> tuple[float, float]:
    """Seconds of the clock and of cores that the Player took."""
    player, trials = open_player(weights), []
    for _ in range(_N_TRIALS.value + 1):  # the first picks kernels
        before = time.perf_counter(), time.process_time()
        for _ in player.stream((5, 0), 2.0, n_samples=n_samples):
            pass
        trials.append((time.perf_counter() - before[0], time.process_time() - before[1]))
    return tuple(map(min, zip(*trials[1:], strict=True)))


def _measured(model: str, rate_hz: int, url: str) -> Row:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    n_samples, seconds = int(_SECONDS.value * rate_hz), _SECONDS.value
    with sync_api.sync_playwright() as playwright:
        words = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=path, args=words)
        page = browser.new_page(service_workers="block")  # which fetches it all again
        page.add_init_script(_WATCH)
        page.goto(f"{url}#model={model}&seed=5.0&time=0")
        while not (times := page.evaluate("times")).get("sound"):
            time.sleep(0.1)
        download_mb, _Host.n_bytes = 1e-6 * _Host.n_bytes, 0
        page.click("#play")
        worker, trials = _worker(), []
        memory_mb = _memory_mb(worker)
        for _ in range(_N_TRIALS.value):
            before = machine.cpu_seconds(worker)
            milliseconds = page.evaluate(_RENDER, n_samples)
            trials.append((1e-3 * milliseconds, machine.cpu_seconds(worker) - before))
        browser.close()
    native = _native(pathlib.Path(_WEIGHTS.value, model), n_samples)
    return Row(
        model,
        1e-3 * times["ready"],
        1e-3 * times["sound"],
        *(seconds / min(column) for column in zip(*trials, strict=True)),
        *(seconds / column for column in native),
        download_mb,
        memory_mb,
    )


def _markdown(rows: list[Row]) -> str:
    names = "page ready, s", "first sound, s", "× real time", "of a core", "native", "of a core"
    lines = [machine.heading("model", *names, "download, MB", "memory, MB", n_words=1).rstrip()]
    for row in rows:
        model, ready, sound, *numbers = dataclasses.astuple(row)
        cells = [f"{ready:.1f}", f"{sound:.1f}", *(f"{number:.0f}" for number in numbers)]
        lines.append(machine.line(model, *cells))
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    folder = pathlib.Path(_PAGE.value)
    handler, rows = functools.partial(_Host, directory=str(folder)), []
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    for listed in json.loads((folder / "models.json").read_text()):
        manifest = json.loads((folder / listed["path"] / "manifest.json").read_text())
        url = f"http://127.0.0.1:{serving.server_port}/"
        rows.append(_measured(listed["name"], manifest["sample_rate_hz"], url))
    load = " ".join(f"{number:.1f}" for number in os.getloadavg())
    text = f"{_markdown(rows)}\nLoad of the machine over 1, 5 and 15 minutes: {load}.\n"
    print(text)
    machine.write(_OUT.value, [dataclasses.asdict(row) for row in rows], text, load=load)


if __name__ == "__main__":
    app.run(main)
