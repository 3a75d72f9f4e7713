"""Trains with a lowered step where there is JAX and no TensorFlow.

    python -m musika_tf.training.lowered_step FOLDER --data_dir=SHARDS --out=OUT --n_steps=100000

FOLDER is what `musika-lower` wrote, SHARDS the waveform or latent shards of the training. Needs jax
(tried with 0.10.2 and 0.11.2), numpy, safetensors and this package's source on PYTHONPATH, nothing
else; that is why it reads its flags with argparse. Writes OUT/checkpoint-<step>.safetensors every
`--checkpoint_minutes` and at the end: move it to the folder of the stage, and the training, the
next stage and the export go on from it. Step n takes batch n here too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import queue
import threading
import time

# XLA's own threads on the CPU can wait for each other where it sees few cores.
os.environ.setdefault("PJRT_NPROC", str(max(8, os.cpu_count() or 1)))

import jax
import numpy as np
import safetensors.numpy

# Steps and seeds are 64-bit integers.
jax.config.update("jax_enable_x64", True)

# No public interface of JAX takes a ready HLO program; x64 must be set before these are loaded.
from jax._src.lib import xla_client  # noqa: E402
from jaxlib import _jax  # noqa: E402

from musika_tf import files  # noqa: E402
from musika_tf.data import batches as batches_lib  # noqa: E402

LOWERED_VERSION = 1
_N_PREFETCHED = 8


class LoweredStep:
    """A compiled step of a folder that `lowering.lower` wrote; what it changes stays on the device
    between calls.

    Raises:
      ValueError: another version's folder.
    """

    def __init__(self, folder: pathlib.Path):
        self.manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if self.manifest["version"] != LOWERED_VERSION:
            raise ValueError(
                f"{folder} has version {self.manifest['version']}, this program runs version "
                f"{LOWERED_VERSION}: use the release that wrote it"
            )
        self.device = jax.devices()[0]
        self._arrays = safetensors.numpy.load_file(folder / "state.safetensors")
        constants = safetensors.numpy.load_file(folder / "constants.safetensors")
        # After the batch, in the order of the program's parameters: a name in the state, or None.
        self._names: list[str | None] = []
        self._values = []
        for parameter in self.manifest["parameters"]:
            if "batch" not in parameter:
                name = parameter.get("state")
                array = self._arrays[name] if name else constants[parameter["constant"]]
                self._names.append(name)
                self._values.append(jax.device_put(array, self.device))
        self._n_batch = len(self.manifest["batch"])
        self._aliases = {int(o): p for o, p in self.manifest["aliases"].items()}
        self._executable = self._compile(folder / "step.hlo")

    def _compile(self, path: pathlib.Path):
        computation = xla_client.XlaComputation(path.read_bytes())
        module = _jax.mlir.xla_computation_to_mlir_module(computation)
        devices = _jax.DeviceList((self.device,))
        options = xla_client.CompileOptions()
        return self.device.client.compile_and_load(module, devices, options)

    def put(self, batch: tuple[np.ndarray, ...]) -> list[jax.Array]:
        """A batch on the device."""
        return [jax.device_put(array, self.device) for array in batch]

    def __call__(self, batch: list[jax.Array]) -> list[jax.Array]:
        """One step: changes the state, gives the metrics in the order of `manifest["metrics"]`."""
        results = self._executable.execute_sharded([*batch, *self._values])
        arrays = [shards[0] for shards in results.disassemble_into_single_device_arrays()]
        for output, parameter in self._aliases.items():
            self._values[parameter - self._n_batch] = arrays[output]
        return arrays[: len(self.manifest["metrics"])]

    def state(self) -> dict[str, np.ndarray]:
        """Everything that a checkpoint holds, by name."""
        changed = zip(self._names, self._values, strict=True)
        return self._arrays | {name: np.asarray(value) for name, value in changed if name}

    @property
    def n_done(self) -> int:
        """Steps that the state has seen."""
        return int(self.state()["state/step"])

    def save(self, folder: pathlib.Path) -> pathlib.Path:
        """Writes `checkpoint-<step>.safetensors`."""
        state = self.state()
        path = folder / f"checkpoint-{int(state['state/step']):08d}.safetensors"
        arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
        with files.written_aside(path) as new:
            new.write_bytes(safetensors.numpy.save(arrays))
        return path


def _feed(step: LoweredStep, batches, first: int, ready: queue.Queue) -> None:
    for number in itertools.count(first):
        ready.put(step.put(batches(number)))


def _train(step: LoweredStep, batches, args: argparse.Namespace) -> None:
    first = done = step.n_done
    ready: queue.Queue = queue.Queue(maxsize=_N_PREFETCHED)
    threading.Thread(target=_feed, args=(step, batches, first, ready), daemon=True).start()
    started = saved = time.monotonic()
    names, sums = step.manifest["metrics"], None
    with open(args.out / "metrics.csv", "a", encoding="utf-8") as table:
        print("step", *names, sep=",", file=table)
        while done < args.n_steps and time.monotonic() - started < 60 * args.max_minutes:
            metrics = step(ready.get())
            done += 1
            sums = metrics if sums is None else [a + b for a, b in zip(sums, metrics, strict=True)]
            if done % args.log_n_steps and done < args.n_steps:
                continue
            n_steps = (done - first - 1) % args.log_n_steps + 1
            means = [float(value) / n_steps for value in sums]
            sums = None
            print(done, *means, sep=",", file=table, flush=True)
            rate = (done - first) / (time.monotonic() - started)
            left = (args.n_steps - done) / rate / 60
            listed = "  ".join(f"{n} {v:.4g}" for n, v in zip(names, means, strict=True))
            print(f"step {done}  {rate:.1f} steps/s  {left:.0f} minutes left  {listed}", flush=True)
            if time.monotonic() - saved > 60 * args.checkpoint_minutes:
                step.save(args.out)
                saved = time.monotonic()
    print(step.save(args.out))


def main() -> None:
    """Trains as the command line says."""
    summary = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("folder", type=pathlib.Path, help="what musika-lower wrote")
    parser.add_argument("--data_dir", type=pathlib.Path, required=True, help="the shards")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="for checkpoints, curves")
    parser.add_argument("--n_steps", type=int, required=True, help="counted from the very first")
    parser.add_argument("--max_minutes", type=float, default=float("inf"))
    parser.add_argument("--checkpoint_minutes", type=float, default=10.0)
    parser.add_argument("--log_n_steps", type=int, default=100)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    step = LoweredStep(args.folder)
    print(f"compiled in {time.monotonic() - started:.1f} s for {step.device}", flush=True)
    _train(step, batches_lib.from_dict(step.manifest["batches"], args.data_dir), args)


if __name__ == "__main__":
    main()
