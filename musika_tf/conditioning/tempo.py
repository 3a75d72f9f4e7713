"""Global tempo of a piece, estimated by a network (paper §5.2)."""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
import io
from typing import Any

import numpy as np
import soundfile

# The probability that is called confidence is of all tempos this near, to each side of the answer:
# the tolerance that estimates of tempo are commonly judged with.
TOLERANCE = 0.04

# The package's name of the network, and the tempo of its first class, in BPM; the others follow
# one by one.
_NETWORK = "fcn"
_FIRST_CLASS_BPM = 30
# What the network reads at once, and how far apart it is asked, in frames of 46 ms.
_WINDOW_N_FRAMES = 256
_WINDOW_HOP_N_FRAMES = 128
_BATCH_N_WINDOWS = 64


def require_installed() -> None:
    """Raises ValueError if Tempo-CNN is not installed."""
    if not importlib.util.find_spec("tempocnn"):
        raise ValueError(
            "Tempo-CNN, which estimates tempos, is not installed: pip install '.[tempo]', "
            "with Python 3.11, the last that it knows; for beats librosa's tempo will do "
            "(--beat_detector=librosa); or label your music yourself (--labels=tempo_bpm=FILE.csv)"
        )


def estimate_tempo(waveform: np.ndarray, sample_rate_hz: int) -> tuple[float, float]:
    """One tempo for a whole piece, by Tempo-CNN (Schreiber & Müller, ISMIR 2018; fully conv.).

    Args:
      waveform: float32 [n_samples], mono, in [-1, 1]; one shorter than 11.9 s is followed by zeros.
      sample_rate_hz: its rate.

    Returns:
      Beats per minute, from 30 to 285: the likeliest tempo, refined by a parabola through it and
      its neighbours. And the confidence, from 0 to 1: the probability of all tempos within 4 % of
      it. Half or double the true tempo are the usual mistakes.

    Raises:
      ValueError: a waveform of another shape, or without samples.
    """
    probabilities = tempo_probabilities(waveform, sample_rate_hz)
    tempo_bpm = _FIRST_CLASS_BPM + _refined_argmax(probabilities)
    classes_bpm = _FIRST_CLASS_BPM + np.arange(len(probabilities))
    near = np.abs(classes_bpm / tempo_bpm - 1) <= TOLERANCE
    return tempo_bpm, float(probabilities[near].sum())


def tempo_probabilities(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Probability of each whole tempo from 30 BPM on, float64 [256]: the mean over all windows."""
    if waveform.ndim != 1 or not len(waveform):
        raise ValueError(
            f"waveform has shape {waveform.shape}; tempo is estimated of mono audio, [n_samples]"
        )
    from tempocnn import classifier

    features = classifier.max_normalizer(_features(waveform, sample_rate_hz))
    batches = np.split(features, range(_BATCH_N_WINDOWS, len(features), _BATCH_N_WINDOWS))
    windows = [np.asarray(_network()([batch], training=False)) for batch in batches]
    return np.concatenate(windows).astype(np.float64).mean(axis=0)


def _features(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Mel spectrograms of overlapping windows, [n_windows, 40, 256, 1].

    The package reads them from files alone: it gets one in memory, of unrounded samples.
    """
    from tempocnn import feature

    file = io.BytesIO()
    soundfile.write(file, waveform, sample_rate_hz, "FLOAT", format="WAV")
    file.seek(0)
    return feature.read_features(file, _WINDOW_N_FRAMES, _WINDOW_HOP_N_FRAMES)


@functools.cache
def _network() -> Any:
    """The network that comes with the package.

    The package's own loader writes a copy below the home folder first, which processes that start
    together would read half-written.
    """
    import keras

    model = importlib.resources.files("tempocnn").joinpath("models", f"{_NETWORK}.h5")
    with importlib.resources.as_file(model) as path:
        return keras.models.load_model(path, compile=False)


def _refined_argmax(values: np.ndarray) -> float:
    """Position of the vertex of the parabola through the maximum and its neighbours."""
    peak = int(np.argmax(values))
    if peak in (0, len(values) - 1):
        return float(peak)
    left, top, right = values[peak - 1 : peak + 2]
    return peak + 0.5 * (left - right) / (left - 2 * top + right)
