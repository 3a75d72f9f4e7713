"""Waveform and latent shards of a system: what they say about themselves, checked against it."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from musika_tf.config import INT16_SCALE, AudioConfig, AutoencoderConfig, Config
from musika_tf.config_versions import CONFIG_VERSION
from musika_tf.data.latent_labels import METADATA_KEY
from musika_tf.data.shards import Shards
from musika_tf.sections import require_equal, section_from_dict

# Excerpts of 0.74 s in each waveform that a validation hears, where the material has them.
HELD_OUT_N_EXCERPTS = 8

WAVEFORM_KIND = "waveform"
LATENT_KIND = "latents"

# Of the sections of a config in the metadata; version 1 did not say so.
_VERSION_KEY = "config_version"


def waveform_metadata(audio: AudioConfig) -> dict[str, Any]:
    """Metadata of waveform shards."""
    return _metadata(WAVEFORM_KIND, audio=audio)


def _metadata(kind: str, **sections: AudioConfig | AutoencoderConfig) -> dict[str, Any]:
    values = {name: dataclasses.asdict(section) for name, section in sections.items()}
    return {"kind": kind, _VERSION_KEY: CONFIG_VERSION, **values}


def latent_metadata(
    config: Config,
    encoder_fingerprint: str,
    n_samples: dict[str, int],
    labels: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Metadata of latent shards.

    Args:
      config: of the run that encoded them.
      encoder_fingerprint: identifies the encoders' weights: latents of others mean other sounds.
      n_samples: length of every source before it was encoded.
      labels: `AudioLabels.metadata` of the labels beside the latents; None: there are none.
    """
    return _metadata(LATENT_KIND, audio=config.audio, autoencoder=config.autoencoder) | {
        "encoder_fingerprint": encoder_fingerprint,
        "n_samples": n_samples,
        METADATA_KEY: labels or {},
    }


def open_waveforms(data_dir: str | os.PathLike, config: Config) -> Shards:
    """Opens waveform shards.

    Raises:
      ValueError: no shards, other shards, or prepared with another audio format; says what to do.
    """
    return _open(data_dir, WAVEFORM_KIND, "musika-prepare", config, "audio")


def open_latents(latent_dir: str | os.PathLike, config: Config, encoder_fingerprint: str) -> Shards:
    """Opens latent shards that the given encoders made.

    Raises:
      ValueError: no shards, other shards, or latents of another autoencoder; says what to do.
    """
    shards = _open(latent_dir, LATENT_KIND, "musika-encode", config, "audio", "autoencoder")
    if shards.metadata["encoder_fingerprint"] != encoder_fingerprint:
        raise ValueError(
            f"the latents in {latent_dir} were made by other encoder weights than this run's, "
            "whose decoders would turn them to noise: encode again with musika-encode"
        )
    return shards


def _open(
    folder: str | os.PathLike, kind: str, program: str, config: Config, *sections: str
) -> Shards:
    """Opens shards that must have been made with these sections of the run's config."""
    shards = Shards.open(folder)
    found, version = shards.metadata.get("kind"), shards.metadata.get(_VERSION_KEY, 1)
    if found != kind:
        raise ValueError(f"{folder} holds {found} shards, not {kind} shards: {program} makes them")
    for name in sections:
        ours = getattr(config, name)
        theirs = section_from_dict(type(ours), shards.metadata[name], version)
        require_equal(ours, theirs, "the run", str(folder))
    return shards


def held_out_n_samples(audio: AudioConfig, n_excerpts: int = HELD_OUT_N_EXCERPTS) -> int:
    """Samples under the frames of so many adjacent excerpts."""
    return n_excerpts * audio.excerpt_n_samples + audio.overlap_size


def held_out_waveforms(
    shards: Shards, audio: AudioConfig, n_crops: int, max_n_excerpts: int = HELD_OUT_N_EXCERPTS
) -> np.ndarray:
    """Left channel of always the same crops of the validation split, as long as it allows.

    Args:
      shards: waveform shards.
      audio: their format.
      n_crops: crops to take, evenly spaced.
      max_n_excerpts: adjacent excerpts in each crop, at least 2; where the longest validation
        source is too short for so many, as many pairs as fit into it.

    Returns:
      float32 [n_crops, k·excerpt_n_samples + overlap_size] in [-1, 1], k even.

    Raises:
      ValueError: no validation source, or none holds a pair of excerpts.
    """
    longest = shards.longest("validation")
    n_fitting = (longest.n_rows - audio.overlap_size) // audio.excerpt_n_samples
    n_pairs = min(n_fitting, max_n_excerpts) // 2
    if n_pairs < 1:
        raise ValueError(
            f"no validation source is long enough: a pair of excerpts takes "
            f"{audio.pair_n_samples / audio.sample_rate_hz:.2f} s and the longest source, "
            f"{longest.name!r}, lasts {longest.n_rows / audio.sample_rate_hz:.2f} s; prepare "
            "longer audio"
        )
    crops = shards.fixed_crops(n_crops, held_out_n_samples(audio, 2 * n_pairs))
    return crops[:, :, 0].astype(np.float32) / INT16_SCALE
