"""How fast training steps are on this machine, and what the data pipeline costs.

    python benchmarks/train_step.py --presets=small,piano --out=train_step.json

Times each stage's step with its batches made on the fly (data included) and with one batch that is
there already (data excluded), in turns, so that whatever else the machine does hits both alike. The
waveforms and latents are noise: their values do not matter for speed.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import pathlib
import statistics
import tempfile
import time
from typing import Any

import keras
import machine
import numpy as np
import presets
import tensorflow as tf
from absl import app, flags

from flags import system as system_flags
from flags import training as training_flags
from musika_tf import audio
from musika_tf.config import Config
from musika_tf.data import datasets
from musika_tf.data.batches import LatentBatches, WaveformBatches
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.shards import Shards
from musika_tf.runs.run import STAGES
from musika_tf.training import devices, pipeline
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training_config import TrainingConfig

_PRESETS = flags.DEFINE_list("presets", ["small"], "Names of files in flags/presets.")
_STAGES = flags.DEFINE_list("stages", list(STAGES), "Stages to time.")
_XLA = flags.DEFINE_list("xla_choices", ["off", "on"], "off, on or both.")
_PRECISIONS = flags.DEFINE_list("precisions", ["float32", "bfloat16"], "Number formats to time.")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "About how long to time each, after compilation.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write besides the table.")

# Turns of data included and data excluded.
_N_TURNS = 5
_DATA_MINUTES = 5


# What a row of the table holds; times are medians over the turns.
#   data_cost: median over the turns of (with data / without) - 1
#   audio_seconds_per_second: that training sees, data included
Row = dict[str, Any]


def main(argv: list[str]) -> None:
    """Times what the flags ask for."""
    del argv
    rows = []
    cells = itertools.product(_PRESETS.value, _STAGES.value, _PRECISIONS.value, _XLA.value)
    for preset, stage, precision, xla in cells:
        row = _time(preset, stage, precision, xla)
        rows.append(row)
        print(_line(row) if len(rows) > 1 else _header() + _line(row), flush=True)
        gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
        machine.write(_OUT.value, rows, gpus=gpus)


def _time(preset: str, stage: str, precision: str, xla: str) -> Row:
    values = presets.flag_values(preset)
    config, training = (f.config(flag_values=values) for f in (system_flags, training_flags))
    # In phase 2 the discriminator takes part in every step: those without it cost less.
    training = dataclasses.replace(
        training, precision=precision, adversarial_start_share=0.0, adversarial_period=1
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer, batches, seconds_per_example = _parts(stage, config, training, folder)
        one_batch = tf.data.Dataset.from_tensors(batches(0)).repeat()
        iterators = {"with": pipeline.iterator(batches, 0), "without": iter(one_batch)}
        started = time.perf_counter()
        run_steps = {
            name: devices.compile_steps(trainer.step, iterator, xla == "on")
            for name, iterator in iterators.items()
        }
        for name, iterator in iterators.items():
            _require_finite(run_steps[name](iterator, tf.constant(1)))
        compile_seconds = time.perf_counter() - started
        measure = lambda name, n: _seconds(run_steps[name], iterators[name], n) / n  # noqa: E731
        n_steps = max(1, round(_SECONDS.value / (2 * _N_TURNS) / measure("without", 1)))
        turns = [(measure("with", n_steps), measure("without", n_steps)) for _ in range(_N_TURNS)]
    keras.utils.clear_session()
    gc.collect()
    with_data, without = (statistics.median(column) for column in zip(*turns, strict=True))
    return {
        "preset": preset,
        "stage": stage,
        "xla": xla,
        "precision": precision,
        "batch_size": training.batch_size,
        "compile_seconds": compile_seconds,
        "step_ms": 1e3 * without,
        "step_ms_with_data": 1e3 * with_data,
        "data_cost": statistics.median(a / b for a, b in turns) - 1.0,
        "steps_per_second": 1.0 / with_data,
        "audio_seconds_per_second": training.batch_size * seconds_per_example / with_data,
    }


def _seconds(run_steps, iterator, n_steps: int) -> float:
    started = time.perf_counter()
    _require_finite(run_steps(iterator, tf.constant(n_steps)))
    return time.perf_counter() - started


def _require_finite(metrics: dict[str, tf.Tensor]) -> None:
    """Waits for the metrics too."""
    if any(not np.isfinite(value.numpy()) for value in metrics.values()):
        raise ValueError(f"this step does not compute what it should: {metrics}")


def _parts(stage: str, config: Config, training: TrainingConfig, folder: str):
    """Trainer, batches, and seconds of audio that an example stands for."""
    rng = np.random.default_rng(0)
    rate_hz = config.audio.sample_rate_hz
    n_samples = _DATA_MINUTES * 60 * rate_hz
    if stage == "gan":
        shape = (n_samples // config.latent_hop_size, config.stereo_latent_depth)
        latents = np.tanh(rng.normal(size=shape)).astype(np.float16)
        shards = _shards(folder, latents, datasets.latent_metadata(config, "", {}))
        trainer = GanTrainer(config=config, training=training, held_out=None)
        length = 2 * config.gan.seq_len
        batches = LatentBatches(shards, training.batch_size, length, training.seed)
        return trainer, batches, length * config.latent_hop_size / rate_hz
    waveforms = audio.to_int16(rng.normal(size=(n_samples, 2)) * 0.1)
    shards = _shards(folder, waveforms, datasets.waveform_metadata(config.audio))
    length = config.audio.pair_n_samples
    trainer = AutoencoderTrainer(
        config=config,
        training=training,
        level=int(stage[5]),
        phase=int(stage[-1]),
        held_out=np.zeros((1, length), np.float32),
    )
    batches = WaveformBatches(shards, training.batch_size, length, training.seed)
    return trainer, batches, length / rate_hz


def _shards(folder: str, rows: np.ndarray, metadata: dict) -> Shards:
    path = pathlib.Path(folder, "shards")
    with ShardWriter(path, rows.shape[1], rows.dtype, metadata) as writer:
        writer.add("noise", rows, "train")
    return Shards.open(path)


def _header() -> str:
    names = "preset, stage, XLA, precision, batch, compile s, step ms, with data ms, data cost, "
    return machine.heading(*f"{names}steps/s, audio s/s".split(", "), n_words=4)


def _line(row: Row) -> str:
    return machine.line(
        *(row[name] for name in ("preset", "stage", "xla", "precision", "batch_size")),
        f"{row['compile_seconds']:.0f}",
        f"{row['step_ms']:.1f}",
        f"{row['step_ms_with_data']:.1f}",
        f"{100 * row['data_cost']:+.1f} %",
        f"{row['steps_per_second']:.2f}",
        f"{row['audio_seconds_per_second']:.1f}",
    )


if __name__ == "__main__":
    app.run(main)
