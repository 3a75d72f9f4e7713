"""How many can listen to `musika-serve` without a gap.

    python benchmarks/radio.py --model_dir=models/piano --listeners=16,32,64 --out=radio.json

Starts the server as a program of its own; for each format and each number so many listeners come
within some seconds, each to a piece of its own, and play what they get as a player does: from a
second after the first byte on, at the speed of time. A gap is whenever there is nothing left to
play. Prints a table in Markdown, and writes it beside the JSON file.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import re
import time
import urllib.request

import machine
import numpy as np
from absl import app, flags
from server_process import ServerProcess, started

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Exported model.", required=True)
_FORMATS = flags.DEFINE_list("formats", "ogg,mp3,wav", "Formats to listen to.")
_LISTENERS = flags.DEFINE_list("listeners", "16,32,64", "How many listen, one after the other.")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "How long they listen.", lower_bound=10.0)
_OUT = flags.DEFINE_string("out", None, "JSON file to write; the table goes to its name with .md.")

# Between the first and the last that comes, for each listener.
_ARRIVAL_SECONDS = 0.1
# From the first byte to the first sound.
_BUFFER_SECONDS = 1.0
_RATE_HZ = 22_050
_MP3_BYTES_PER_SECOND = 128_000 / 8


@dataclasses.dataclass
class Row:
    """What so many listeners of a format met.

    Attributes:
      n_gaps, missed_seconds: of all of them together.
      first_byte_ms: median and 95th percentile.
      cores: that the server took, in the mean.
      n_late_chunks: as the server counts them.
    """

    format: str
    n_listeners: int
    n_gaps: int
    missed_seconds: float
    first_byte_ms: tuple[float, float]
    kbit_per_second: float
    cores: float
    rss_mib: float
    n_late_chunks: int


class Listener:
    """One that plays a stream."""

    def __init__(self, suffix: str, seed: int):
        self._suffix, self._seed = suffix, seed
        self.n_bytes, self.n_gaps, self.missed_seconds = 0, 0, 0.0
        self.first_byte_seconds = float("nan")
        self._n_samples, self._rest = 0, b""

    async def listen(self, host: str, port: int, seconds: float) -> None:
        """Comes, listens for so long and leaves."""
        asked = time.monotonic()
        reader, writer = await asyncio.open_connection(host, port)
        # Without chunks of HTTP: what comes is the file.
        path = f"/radio/musika.{self._suffix}?seed={self._seed}"
        writer.write(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ValueError(f"refused: {head.decode()}")
        silent_until = None
        while time.monotonic() < asked + seconds:
            data = await reader.read(1 << 16)
            now = time.monotonic()
            if silent_until is None:
                self.first_byte_seconds = now - asked
                silent_until = now + _BUFFER_SECONDS
            missed = now - silent_until - self._seconds()
            if missed > 0.0:
                self.n_gaps += 1
                self.missed_seconds += missed
                silent_until += missed
            self._take(data)
        writer.close()

    def _take(self, data: bytes) -> None:
        self.n_bytes += len(data)
        if self._suffix == "ogg":
            # A page says how many samples there are up to its end.
            data = self._rest + data
            pages = re.finditer(rb"OggS\0.(.{8})", data, re.DOTALL)
            counts = (int.from_bytes(page[1], "little", signed=True) for page in pages)
            self._n_samples = max(self._n_samples, *counts, 0)
            self._rest = data[-13:]

    def _seconds(self) -> float:
        """Of music so far."""
        if self._suffix == "ogg":
            return self._n_samples / _RATE_HZ
        return self.n_bytes / (_MP3_BYTES_PER_SECOND if self._suffix == "mp3" else 4 * _RATE_HZ)


async def _listen_together(listeners: list[Listener], address: str, seconds: float) -> None:
    host, port = address.removeprefix("http://").split(":")

    async def come(number: int) -> None:
        await asyncio.sleep(number * _ARRIVAL_SECONDS)
        await listeners[number].listen(host, int(port), seconds)

    await asyncio.gather(*map(come, range(len(listeners))))


def _n_late_chunks(url: str) -> int:
    text = urllib.request.urlopen(f"{url}/metrics", timeout=60).read().decode()  # noqa: S310
    return int(float(re.search(r"^\w+_radio_late_chunks_total (\S+)", text, re.M)[1]))


def _measured(server: ServerProcess, suffix: str, n_listeners: int) -> Row:
    listeners = [Listener(suffix, seed) for seed in range(n_listeners)]
    before = time.monotonic(), server.cpu_seconds(), _n_late_chunks(server.rest_url)
    asyncio.run(_listen_together(listeners, server.rest_url, _SECONDS.value))
    wall_seconds = time.monotonic() - before[0]
    firsts = [1e3 * listener.first_byte_seconds for listener in listeners]
    n_bytes = sum(listener.n_bytes for listener in listeners)
    return Row(
        format=suffix,
        n_listeners=n_listeners,
        n_gaps=sum(listener.n_gaps for listener in listeners),
        missed_seconds=sum(listener.missed_seconds for listener in listeners),
        first_byte_ms=tuple(float(np.percentile(firsts, p)) for p in (50, 95)),
        kbit_per_second=8e-3 * n_bytes / n_listeners / _SECONDS.value,
        cores=(server.cpu_seconds() - before[1]) / wall_seconds,
        rss_mib=server.resources()[0],
        n_late_chunks=_n_late_chunks(server.rest_url) - before[2],
    )


def _markdown(rows: list[Row]) -> str:
    columns = "listeners", "gaps", "missed s", "first byte ms, p50", "p95", "kbit/s", "cores", "MiB"
    lines = [machine.heading("format", *columns, n_words=1).rstrip()]
    for row in rows:
        numbers = row.missed_seconds, *row.first_byte_ms, row.kbit_per_second
        cells = [f"{number:.0f}" for number in numbers]
        cells += [f"{row.cores:.2f}", f"{row.rss_mib:.0f}"]
        lines.append(machine.line(row.format, row.n_listeners, row.n_gaps, *cells))
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    rows = []
    counts = [int(count) for count in _LISTENERS.value]
    words = [f"--max_listeners={max(counts)}"]
    with started(pathlib.Path(_MODEL_DIR.value), words) as server:
        for suffix in _FORMATS.value:
            for n_listeners in counts:
                rows.append(_measured(server, suffix, n_listeners))
                print(_markdown(rows[-1:]).splitlines()[-1], flush=True)
    print("\n" + _markdown(rows))
    machine.write(_OUT.value, [dataclasses.asdict(row) for row in rows], _markdown(rows))


if __name__ == "__main__":
    app.run(main)
