"""How well an autoencoder gives held-out audio back, beside what phases by other means would give.

The metrics are those of training (losses.py, paper §3.1). What is measured of each crop:

    crop ─STFT─► magnitudes ─encoders─► latents ─decoders─► magnitudes, phases ─inverse STFT─► wave
                     └───────────────────────────────────────────┴──► Griffin-Lim or random phases

Griffin-Lim finds phases for magnitudes in 32 rounds (Griffin & Lim 1984, librosa's with momentum):
what it makes of decoded magnitudes says what the decoder's own phases are worth, and of the true
ones how far phases could be from the truth. Opus, which people know, is told to take so many bits
of the same mono crops.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence

import librosa
import numpy as np
import soundfile
import soxr
import tensorflow as tf

from musika_tf import progress, spectral
from musika_tf.config import AudioConfig
from musika_tf.data import datasets
from musika_tf.data.shards import Shards
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.training import losses

# Held-out crops, and adjacent excerpts in each: 12 s of the paper's piano.
N_CROPS = 8
CROP_N_EXCERPTS = 16

_GRIFFIN_LIM_N_ITERATIONS = 32
OPUS_KBITS_PER_SECOND = (12, 24)
_OPUS_RATE_HZ = 24_000
# What libsndfile takes 0 and 1 for: kb/s of a channel, on a line between them.
_OPUS_MOST, _OPUS_LEAST = 256, 6
# Of random phases, and of those that Griffin-Lim begins with.
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Distances:
    """How far a reconstruction is from the original; lower is better. L1 are mean absolute
    differences of scaled log magnitudes."""

    multi_scale: float  # `losses.multi_scale_spectral_distance`
    waveform_log_magnitude_l1: float
    # Of the magnitudes that the decoder gave, before phases; None: they are the true ones.
    decoder_log_magnitude_l1: float | None
    kbits_per_second: float | None = None  # that Opus really took


def measure(
    autoencoder: Autoencoder, untrained: Autoencoder, shards: Shards
) -> dict[str, Distances]:
    """Means over the left channel of `held_out_crops`, by the way in which they are reconstructed.

    Both autoencoders have the same config, and the shards its audio format.
    """
    crops = held_out_crops(shards, autoencoder.config.audio)
    found: dict[str, list[Distances]] = {}
    rng = np.random.default_rng(_SEED)
    for crop in progress.bar(crops, desc="reconstruction", unit=" crops"):
        for name, distances in _of_crop(autoencoder, untrained, crop[np.newaxis], rng):
            found.setdefault(name, []).append(distances)
    return {name: _mean(group) for name, group in found.items()}


def held_out_crops(shards: Shards, audio: AudioConfig) -> np.ndarray:
    """As many as the validation split has side by side.

    Returns:
      float32 [n_crops, n_samples], 1 to N_CROPS of up to CROP_N_EXCERPTS excerpts.

    Raises:
      ValueError: no validation source holds a pair of excerpts.
    """
    crops = datasets.held_out_waveforms(shards, audio, 1, CROP_N_EXCERPTS)
    n_fitting = sum(source.n_rows // crops.shape[1] for source in shards.split("validation"))
    n_crops = max(1, min(N_CROPS, n_fitting))
    return datasets.held_out_waveforms(shards, audio, n_crops, CROP_N_EXCERPTS)


def _of_crop(
    autoencoder: Autoencoder, untrained: Autoencoder, crop: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, Distances]]:
    """All ways with one crop, float32 [1, n_samples]."""
    audio, spectrum = autoencoder.config.audio, autoencoder.stft(crop)
    log_magnitudes = spectral.log_magnitude(spectrum)
    distances = functools.partial(_distances, audio, crop, log_magnitudes)
    for level, name in ((1, "level 1"), (2, "both levels")):
        decoded, directions = _decoded(autoencoder, log_magnitudes, level)
        waveform = autoencoder.inverse_stft(autoencoder.spectrum(decoded, directions))
        yield name, distances(waveform, decoded)
        magnitudes = spectral.magnitude_from_log(decoded).numpy()
        yield f"{name}, phases by Griffin-Lim", distances(griffin_lim(magnitudes, audio), decoded)
    magnitudes = np.abs(spectrum.numpy())
    yield "true magnitudes, phases by Griffin-Lim", distances(griffin_lim(magnitudes, audio))
    for kbits in OPUS_KBITS_PER_SECOND:
        waveform, taken = opus(crop[0], audio.sample_rate_hz, kbits)
        told = dataclasses.replace(distances(waveform[np.newaxis]), kbits_per_second=taken)
        yield f"Opus at {kbits} kb/s", told
    phases = np.exp(2j * np.pi * rng.random(magnitudes.shape))
    randomised = (magnitudes * phases).astype(np.complex64)
    yield "true magnitudes, random phases", distances(autoencoder.inverse_stft(randomised))
    decoded, directions = _decoded(untrained, log_magnitudes, 2)
    waveform = untrained.inverse_stft(untrained.spectrum(decoded, directions))
    yield "untrained, both levels", distances(waveform, decoded)


def _decoded(
    autoencoder: Autoencoder, log_magnitudes: tf.Tensor, level: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Through so many levels and back: scaled log magnitudes and phase directions."""
    latents = autoencoder.encode1(log_magnitudes)
    if level == 2:
        latents = autoencoder.decode2(autoencoder.encode2(latents))
    return autoencoder.decode1(latents)


def griffin_lim(magnitudes: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Waveforms with nearly these magnitudes: float32 [batch, n_frames, n_bins] →
    [batch, n_frames·hop_size + overlap_size], always the same."""
    return librosa.griffinlim(
        np.swapaxes(magnitudes, 1, 2),
        n_iter=_GRIFFIN_LIM_N_ITERATIONS,
        hop_length=audio.hop_size,
        n_fft=audio.window_size,
        center=False,
        random_state=_SEED,
    ).astype(np.float32)


def opus(mono: np.ndarray, rate_hz: int, kbits_per_second: float) -> tuple[np.ndarray, float]:
    """A waveform through Opus and back, float32 [n_samples], and the kb/s that it took."""
    level = (_OPUS_MOST - kbits_per_second) / (_OPUS_MOST - _OPUS_LEAST)
    resampled, coded = soxr.resample(mono, rate_hz, _OPUS_RATE_HZ), io.BytesIO()
    how = {"format": "OGG", "subtype": "OPUS", "compression_level": level}
    soundfile.write(coded, resampled, _OPUS_RATE_HZ, **how)
    taken = 8e-3 * coded.tell() * rate_hz / len(mono)
    coded.seek(0)
    decoded, _ = soundfile.read(coded, dtype="float32")
    waveform = soxr.resample(decoded, _OPUS_RATE_HZ, rate_hz)
    return np.resize(waveform, len(mono)), taken


def _distances(
    audio: AudioConfig,
    crop: np.ndarray,
    log_magnitudes: tf.Tensor,
    waveform: np.ndarray,
    decoded: tf.Tensor | None = None,
) -> Distances:
    # Without the ends, which lie under fewer frames than the rest and cannot be rebuilt.
    pair = [x[:, audio.overlap_size : -audio.overlap_size] for x in (crop, waveform)]
    spectrograms = [spectral.log_spectrogram(x, audio.window_size, audio.hop_size) for x in pair]
    hop_sizes = audio.multi_scale_hop_sizes
    return Distances(
        float(losses.multi_scale_spectral_distance(*pair, hop_sizes)),
        float(losses.l1(*spectrograms)),
        None if decoded is None else float(losses.l1(log_magnitudes, decoded)),
    )


def _mean(group: Sequence[Distances]) -> Distances:
    # Every crop has the same length, so that these are the metrics of all crops in one batch.
    columns = zip(*map(dataclasses.astuple, group), strict=True)
    return Distances(*(None if None in column else float(np.mean(column)) for column in columns))
