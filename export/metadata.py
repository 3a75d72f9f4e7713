"""What an exported model says of itself, whatever form it has."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from musika_tf.config import N_CHANNELS, Signal
from musika_tf.networks.synthesizer import Synthesizer

_PACKAGES = ("musika_tf", "tensorflow", "keras", "numpy")


def describe(synthesizer: Synthesizer, training: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a user of the model needs to know about it, but for the form it comes in;
    `training` is step and flags of each stage, as `Run.provenance` gives."""
    config = synthesizer.config
    n_samples = {
        "seconds_per_anchor": config.anchor_hop_size,
        "seconds_per_patch": config.patch_n_samples,
        "seconds_per_latent": config.latent_hop_size,
        "seconds_per_excerpt": config.audio.excerpt_n_samples,
    }
    now = datetime.datetime.now(datetime.UTC)
    return {
        "created_utc": now.isoformat(timespec="seconds"),
        "weights_sha256": synthesizer.weights_sha256(),
        "sample_rate_hz": config.audio.sample_rate_hz,
        "n_channels": N_CHANNELS,
        **{name: n / config.audio.sample_rate_hz for name, n in n_samples.items()},
        "n_latents_per_anchor": 2 * config.gan.seq_len,
        # What `latents` reads on each side of its window.
        "context_n_latents": config.gan.context_n_steps,
        # What conditions the model, in the order of the last axis of `conditioning`.
        "signals": [_as_dict(signal) for signal in config.conditioning.along_time],
        # What `generate` takes for each of them: for a clock its tempo.
        "controls": [_as_dict(asked) for asked in config.conditioning.asked],
        "config": json.loads(config.to_json()),
        "training": training,
        "packages": {name: _version_of(name) for name in _PACKAGES},
    }


def _as_dict(signal: Signal) -> dict[str, Any]:
    """The tempos of a clock are the range of its control; of a response its ends and its middle."""
    values = dataclasses.asdict(signal) | {"middle": signal.middle}
    del values["tempos_bpm"], values["response"]
    return values


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from its folder, not installed
        return None
