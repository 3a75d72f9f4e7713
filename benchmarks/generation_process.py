"""One process that generates with one exported model, and says what that took.

Started by `benchmarks/generation.py`, once a length, so that memory is that length's alone. Prints
one line of JSON. Imports nothing that a user of the model would not import, but for `--streamed`,
which is what `musika-generate` does.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import pathlib
import resource
import time

import numpy as np
import tensorflow as tf

# Rows, inner size and columns of the matrix product that stands for what the machine can do.
_PRODUCT_SIZES = (4096, 1024, 1024)
_PRODUCT_N_TURNS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--version_dir", required=True, type=pathlib.Path)
    parser.add_argument("--seconds", required=True, type=float)
    parser.add_argument("--n_trials", required=True, type=int)
    parser.add_argument("--streamed", action="store_true")
    parser.add_argument("--jit_compile", action="store_true")
    arguments = parser.parse_args()
    peak = _product_gflops()
    if arguments.streamed:
        trial, first_audio = _streaming(arguments)
    else:
        trial, first_audio = _calling(arguments), None
    trial()  # allocates, and picks kernels
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = [_timed(trial) for _ in range(arguments.n_trials)]
    after = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "trial_seconds": seconds,
        "first_audio_seconds": [first_audio() for _ in range(20)] if first_audio else None,
        "product_gflops": max(peak, _product_gflops()),
        "peak_memory_mib": _peak_memory_mib(),
        "page_faults": (after.ru_minflt - before.ru_minflt) / arguments.n_trials,
    }
    print(json.dumps(result))


def _peak_memory_mib() -> float:
    """Of this program alone: `ru_maxrss` begins with what the process was that started it."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _calling(arguments: argparse.Namespace):
    """One call of `generate`, as a program makes it that knows TensorFlow alone."""
    model = tf.saved_model.load(str(arguments.version_dir))
    metadata = json.loads((arguments.version_dir / "metadata.json").read_text(encoding="utf-8"))
    generate = model.signatures["generate"]
    fixed = {
        "seconds": tf.constant([arguments.seconds]),
        "truncation": tf.constant([2.0]),
        **{
            control["name"]: tf.constant([0.5 * (control["minimum"] + control["maximum"])])
            for control in metadata["controls"]
        },
    }
    seeds = itertools.count()

    def trial() -> None:
        waveform = generate(seed=tf.constant([[next(seeds), 0]]), **fixed)["waveform"].numpy()
        assert np.isfinite(waveform[0, -1]).all()
        # Keeps the model: its signatures do not.
        assert model is not None

    return trial


def _streaming(arguments: argparse.Namespace):
    """What `musika-generate` does, without the file; and the time to its first samples."""
    from musika_tf.player import open_player

    player = open_player(arguments.version_dir, arguments.jit_compile)
    n_samples = round(arguments.seconds * player.config.audio.sample_rate_hz)
    seeds = itertools.count()

    def trial() -> None:
        for chunk in player.stream((next(seeds), 0), 2.0, n_samples=n_samples):
            assert np.isfinite(chunk).all()

    def first_audio() -> float:
        return _timed(lambda: next(player.stream((next(seeds), 0), 2.0)))

    return trial, first_audio


def _timed(work) -> float:
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _product_gflops() -> float:
    """What one large float32 matrix product reaches, the best of some turns."""
    rows, inner, columns = _PRODUCT_SIZES
    left, right = tf.random.normal([rows, inner]), tf.random.normal([inner, columns])
    product = tf.function(lambda a, b: tf.reduce_sum(a @ b))
    product(left, right)
    best = min(_timed(lambda: product(left, right).numpy()) for _ in range(_PRODUCT_N_TURNS))
    return 2e-9 * rows * inner * columns / best


if __name__ == "__main__":
    main()
