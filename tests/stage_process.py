"""What tests share that train in processes of their own (`train_stage.py`)."""

from __future__ import annotations

import pathlib

import numpy as np
import processes
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from musika_tf import audio
from musika_tf.config import Config
from musika_tf.data import datasets
from musika_tf.data.shard_writer import ShardWriter

STAGES = ("level1_phase1", "level1_phase2", "level2_phase1", "level2_phase2", "gan")


def write_data(folder: pathlib.Path, config: Config) -> None:
    """What `train_stage.py` reads: waveforms of noise, and latents of slow waves with a label."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.to_json())
    rng = np.random.default_rng(0)
    waveforms = audio.to_int16(rng.normal(size=(100_000, 2)) * 0.1)
    phases = rng.uniform(0, 6, config.stereo_latent_depth) + 0.3 * np.arange(400)[:, None]
    of_latents = datasets.latent_metadata(config, "", {}, {"note_density": {"kind": "curve"}})
    for name, rows, metadata in (
        ("waveforms", waveforms, datasets.waveform_metadata(config.audio)),
        ("latents", np.sin(phases).astype(np.float16), of_latents),
    ):
        names = tuple(metadata.get("labels", ()))
        labels = np.linspace((0.0,) * len(names), 1.0, len(rows), dtype=np.float32)
        kind = rows.shape[1], rows.dtype, metadata
        with ShardWriter(folder / name, *kind, label_names=names) as writer:
            for split in ("train", "validation"):
                writer.add(split, rows, split, labels)


def start(*words: str | pathlib.Path | int, **environment: str) -> processes.Process:
    """Starts `train_stage.py` with command-line words."""
    return processes.Process(processes.ROOT / "tests" / "train_stage.py", *words, **environment)


def curves(stage_dir: pathlib.Path, leave_out: tuple[str, ...] = ()) -> dict[str, dict[int, set]]:
    """By name and step the values in the log: several where a step was taken again."""
    events = EventAccumulator(str(stage_dir / "logs"), size_guidance={"tensors": 0})
    events.Reload()
    found: dict[str, dict[int, set]] = {}
    for name in events.Tags()["tensors"]:
        for event in events.Tensors(name):
            value = tf.make_ndarray(event.tensor_proto)
            if value.dtype.kind == "f" and name not in leave_out:
                found.setdefault(name, {}).setdefault(event.step, set()).add(float(value))
    return found
