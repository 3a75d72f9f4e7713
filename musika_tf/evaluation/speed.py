"""How fast a model plays on this machine (paper T1), how soon it is heard and steered, and whether
it grows."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from musika_tf import generation
from musika_tf.evaluation import machine, report_files
from musika_tf.generation import Request
from musika_tf.player import Player, open_player

NAME = "speed"
_N_TRIALS = 10


def evaluate(
    model_dir: str | os.PathLike, request: Request, folder: pathlib.Path
) -> tuple[str, dict[str, Any]]:
    """Opens a model and plays `request.seconds` of it; tables, and numbers as JSON takes them."""
    del folder  # there is nothing to see or hear
    found = measure(lambda: open_player(model_dir), request)
    values = report_files.numbers({"machine": machine.describe()}, request) | {"speed": found}
    return report_files.markdown(_paragraphs(values)), values


def measure(opened: Callable[[], Player], request: Request) -> dict[str, float]:
    """Times in seconds, of one stream on an otherwise idle machine; medians of 10 trials.

    It plays a request, whose controls a conditional model needs.
    """
    player, open_seconds = _timed(opened)
    audio = player.config.audio
    excerpt = audio.excerpt_n_samples / audio.sample_rate_hz
    _, cold = _timed(lambda: next(generation.stream(player, request, 0)))
    firsts = [
        _timed(lambda i=i: next(generation.stream(player, request, i)))[1] for i in range(_N_TRIALS)
    ]
    steered = _steered(player, request, 1.01 * excerpt)
    seconds, memory = _streamed(player, request)
    return {
        "open": open_seconds,
        "first_chunk_cold": cold,  # the first of the process, which traces the networks
        "first_chunk": float(np.median(firsts)),
        "steered_chunk": steered,  # from `steer` to the next chunk, an excerpt long
        "excerpt": excerpt,  # the length of an excerpt, played
        "times_real_time": request.seconds / seconds,  # without end, as `musika-generate` does
        "memory_mib_begin": memory[len(memory) // 10],  # of the process, when a tenth was played
        "memory_mib_end": memory[-1],
        "streamed_seconds": request.seconds,
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def _steered(player: Player, request: Request, chunk_seconds: float) -> float:
    """Median time to the first chunk of another style."""
    endless = dataclasses.replace(request, seconds=1e6)
    stream, found = generation.stream(player, endless, 0, chunk_seconds), []
    for index in range(1, _N_TRIALS + 2):
        next(stream)
        stream.steer(style_seed=(request.seed, index))
        found.append(_timed(lambda: next(stream))[1])
    # The first one traces.
    return float(np.median(found[1:]))


def _streamed(player: Player, request: Request) -> tuple[float, list[float]]:
    """How long it takes to play a request, and the memory after each chunk in MiB."""
    memory, started = [], time.perf_counter()
    for _ in generation.stream(player, request, 0):
        memory.append(_memory_mib())
    return time.perf_counter() - started, memory


def _memory_mib() -> float:
    """What this process holds; where the system does not say, the most that it has held."""
    status = pathlib.Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _paragraphs(values: dict[str, Any]) -> list[str]:
    found, about = values["speed"], values["machine"]
    rows = [
        ("streaming, × real time", f"{found['times_real_time']:.0f}"),
        ("opening the model", f"{found['open']:.1f} s"),
        ("first sound of the process", f"{1e3 * found['first_chunk_cold']:.0f} ms"),
        ("first sound of a later piece", f"{1e3 * found['first_chunk']:.0f} ms"),
        ("computing the first excerpt after steering", f"{1e3 * found['steered_chunk']:.0f} ms"),
        ("an excerpt, on whose borders steering is heard", f"{1e3 * found['excerpt']:.0f} ms"),
        (
            f"memory after a tenth of {found['streamed_seconds']:g} s, and after all",
            f"{found['memory_mib_begin']:.0f} and {found['memory_mib_end']:.0f} MiB",
        ),
    ]
    columns = {"what": ("what", ""), "value": ("measured", "")}
    return [
        "# Speed",
        f"{about['processor']}, {about['n_cpu_cores']} cores, TensorFlow {about['tensorflow']}, "
        f"{about['date']}. The paper has 39 to 40 × real time on a Ryzen 3950X, 917 to 994 × on an "
        "RTX 2080 Ti, latents and decoding included.",
        report_files.table(columns, ({"what": what, "value": value} for what, value in rows)),
    ]
