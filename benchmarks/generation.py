"""How fast music is made on this machine: table 1 of the paper, and where it stands.

    python benchmarks/generation.py --presets=piano,small --out=generation.json

Exports each preset with random weights, whose values do not matter for speed, and generates with
the SavedModel in fresh processes: stereo, latents and decoding included, from a seed. The longest
lengths are streamed, as `musika-generate` does it. The networks' multiply-adds are counted in their
graphs (two operations each); what the machine could do is what one large matrix product reaches in
the same process.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import machine
import presets
import tensorflow as tf
from absl import app, flags
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from export import saved_model, signatures
from flags import system as system_flags
from musika_tf.config import N_CHANNELS, Config
from musika_tf.networks import precision as precision_lib
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.player import METADATA_FILE

_PRESETS = flags.DEFINE_list("presets", ["piano", "small"], "Names of files in flags/presets.")
_PRECISIONS = flags.DEFINE_list(
    "precisions", ["float32"], "Of the exported decoders: float32, bfloat16."
)
_N_PATCHES = flags.DEFINE_list(
    "n_patches", ["1", "2", "20"], "Lengths to make in one call, in patches of 11.9 s."
)
_STREAM_SECONDS = flags.DEFINE_float("stream_seconds", 3600.0, "Length to stream; 0: none.")
_N_TRIALS = flags.DEFINE_integer(
    "n_trials", 100, "Trials of each length; of the stream there is 1."
)
_JIT_COMPILE = flags.DEFINE_bool("jit_compile", False, "Also stream with `--jit_compile`.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write; the table goes to its name with .md.")

_PROCESS = pathlib.Path(__file__).with_name("generation_process.py")


# What a row of the table holds; times are means over the trials, as in the paper.
#   way: `call` (one call of `generate`), `stream` (what `musika-generate` does), `stream, XLA`
#   real_time_factor: seconds of audio a second
#   gflop_per_second_of_audio: operations of the networks' convolutions and products
#   share_of_product: of what one large matrix product reaches in the same process
#   page_faults_per_second_of_audio: minor ones
Row = dict[str, Any]


def main(argv: list[str]) -> None:
    """Measures what the flags ask for."""
    del argv
    rows = []
    for preset, precision in itertools.product(_PRESETS.value, _PRECISIONS.value):
        config = system_flags.config(flag_values=presets.flag_values(preset))
        gflop = gflop_per_second_of_audio(Synthesizer(config))
        with precision_lib.trained_networks_of(precision):
            autoencoder = Autoencoder(config)
        synthesizer = Synthesizer(config, autoencoder=autoencoder)
        with tempfile.TemporaryDirectory() as folder:
            version_dir = _export(synthesizer, pathlib.Path(folder, "1"))
            del synthesizer
            keras.utils.clear_session()
            for way, seconds, n_trials in _ways(config):
                measured = _measure(way, seconds, n_trials, version_dir, gflop)
                rows.append({"preset": preset, "precision": precision, **measured})
                print(_line(rows[-1]) if len(rows) > 1 else _header() + _line(rows[-1]), flush=True)
                table = _header() + "\n".join(map(_line, rows)) + "\n"
                machine.write(_OUT.value, rows, table)


def _export(synthesizer: Synthesizer, version_dir: pathlib.Path) -> pathlib.Path:
    limits = signatures.Limits()
    contract = saved_model.save(synthesizer, version_dir, limits)
    metadata = saved_model.metadata(synthesizer, contract, limits, training={})
    (version_dir / METADATA_FILE).write_text(json.dumps(metadata), encoding="utf-8")
    return version_dir


def _ways(config: Config):
    patch_seconds = config.patch_n_samples / config.audio.sample_rate_hz
    for n_patches in map(int, _N_PATCHES.value):
        yield "call", n_patches * patch_seconds, _N_TRIALS.value
    if _STREAM_SECONDS.value:
        yield "stream", _STREAM_SECONDS.value, 1
        if _JIT_COMPILE.value:
            yield "stream, XLA", _STREAM_SECONDS.value, 1


def _measure(way, seconds, n_trials, version_dir, gflop) -> dict[str, Any]:
    command = [sys.executable, _PROCESS, f"--version_dir={version_dir}", f"--seconds={seconds!r}"]
    command += [f"--n_trials={n_trials}", *(["--streamed"] if "stream" in way else [])]
    command += ["--jit_compile"] if "XLA" in way else []
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    mean = statistics.fmean(measured["trial_seconds"])
    first_audio = measured["first_audio_seconds"]
    return {
        "way": way,
        "duration_seconds": seconds,
        "n_trials": n_trials,
        "real_time_factor": seconds / mean,
        "ms_per_second_of_audio": 1e3 * mean / seconds,
        "gflop_per_second_of_audio": gflop,
        "product_gflops": measured["product_gflops"],
        "share_of_product": gflop * seconds / mean / measured["product_gflops"],
        "peak_memory_mib": measured["peak_memory_mib"],
        "page_faults_per_second_of_audio": measured["page_faults"] / seconds,
        "first_audio_ms": 1e3 * statistics.median(first_audio) if first_audio else None,
    }


def gflop_per_second_of_audio(synthesizer: Synthesizer) -> float:
    """Operations of generator and decoders for one second of stereo, counted in their graphs."""
    config, networks = synthesizer.config, synthesizer.networks
    sizes, audio = config.autoencoder, config.audio
    excerpts_per_second = N_CHANNELS * audio.sample_rate_hz / audio.excerpt_n_samples
    decoders = _n_operations(
        networks["decoder2"],
        tf.TensorSpec((1, config.excerpt_n_latents, sizes.level2_latent_depth)),
    ) + _n_operations(
        networks["decoder1"], tf.TensorSpec((1, audio.excerpt_n_frames, sizes.level1_latent_depth))
    )
    # From anchor to anchor, as it is streamed.
    generator = _n_operations(synthesizer.latents, *_window_specs(config))
    windows_per_second = audio.sample_rate_hz / config.anchor_hop_size
    return 1e-9 * (windows_per_second * generator + excerpts_per_second * decoders)


def _window_specs(config: Config) -> list[tf.TensorSpec]:
    """Coordinates, style, start and, of a conditional system, conditioning."""
    gan, n_signals = config.gan, config.conditioning.n_signals
    n_steps = 2 * gan.seq_len + 2 * gan.context_n_steps
    depths = (gan.anchor_depth, gan.style_depth, *[n_signals] * bool(n_signals))
    coordinates, style, *conditioning = (tf.TensorSpec((1, n_steps, depth)) for depth in depths)
    return [coordinates, style, tf.TensorSpec((1,), tf.int32), *conditioning]


def _n_operations(network: Callable[..., tf.Tensor], *inputs: tf.TensorSpec) -> int:
    concrete = tf.function(network).get_concrete_function(*inputs)
    graph = convert_variables_to_constants_v2(concrete).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    options = options.with_empty_output().build()
    return profiler.profile(graph, options=options).total_float_ops


def _header() -> str:
    names = "preset, precision, way, audio s, × real time, ms a second, GFLOP a second, "
    names += "share of product, memory MiB, page faults a second, first audio ms"
    return machine.heading(*names.split(", "), n_words=3)


def _line(row: Row) -> str:
    first_audio = "–" if row["first_audio_ms"] is None else f"{row['first_audio_ms']:.0f}"
    return machine.line(
        *(row[name] for name in ("preset", "precision", "way")),
        f"{row['duration_seconds']:.1f}",
        f"{row['real_time_factor']:.1f}",
        f"{row['ms_per_second_of_audio']:.2f}",
        f"{row['gflop_per_second_of_audio']:.2f}",
        f"{100 * row['share_of_product']:.0f} % of {row['product_gflops']:.0f}",
        f"{row['peak_memory_mib']:.0f}",
        f"{row['page_faults_per_second_of_audio']:.0f}",
        first_audio,
    )


if __name__ == "__main__":
    app.run(main)
