"""Musical time: where the beats of a piece lie, estimated from its waveform.

Of a piece with one steady tempo that is a clock, two numbers. A tempo estimate, which may be a
percent inexact, says where to look: there the onset strength of the whole piece is periodic, and
its spectrum at the tempo and at multiples of it tells the period to a ten-thousandth. Folded at
that period it shows where in a beat things happen. The beat is where the bass drum strikes, and not
the hat that is as loud half a beat later:

    onset strength, all frequencies   |▇▂▁▁▁▁▁▁▇▂▁▁▁▁▁▁|
    rises of the bass                 |▇▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁|    the beat
                                      0        ½        1  beats

Which of four beats begins a bar is a guess: where harmony changes most.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import soxr

from musika_tf import statistics
from musika_tf.conditioning import onsets, tempo

TEMPOCNN = "tempocnn"
LIBROSA = "librosa"
MADMOM = "madmom"
DETECTORS = (TEMPOCNN, LIBROSA, MADMOM)

BEATS_A_BAR = 4
# A piece whose parts keep less to a clock has none. The least of 110 synthetic techno tracks is
# 0.92; hardly any electronic music of one tempo is below 0.7; performed piano reaches 0.6.
MIN_STEADINESS = 0.65

# Of less nothing can be said.
_MIN_SECONDS = 5.0
# Audio is read at this rate, a long file in pieces of a minute.
_SAMPLE_RATE_HZ = 22_050
_PIECE_SECONDS = 60
# Onset strength: frames of 46 ms, 12 ms apart, in 40 bands; three of them are below 200 Hz.
_WINDOW_SIZE = 1024
_HOP_SIZE = 256
_MEL_BANDS = {"n_mels": 40, "fmin": 30.0, "fmax": 10_000.0}
_N_BASS_BANDS = 3
_POWER_FLOOR = 1e-7
# An estimate above or below is taken for an octave error.
_USUAL_BPM = 40.0, 190.0
# The true tempo is looked for so near to the estimate, and at so many multiples of it.
_TEMPO_TOLERANCE = 0.04
_N_HARMONICS = 8
# A beat is folded to so many parts: 10 ms each at 120 BPM.
_N_PARTS = 48
# What onsets of all frequencies count for beside those of the bass, where a beat is looked for.
_WEIGHT_OF_ALL = 0.3
# Of fast tempos half is sometimes estimated. Where the bass strikes twice in a beat, and the second
# time so much like the first, both are beats.
_HALF_TEMPOS_BPM = 90.0
_ALIKE = 0.7
_JUDGED_SECONDS = 10.0
# Harmony: frames of 186 ms, 23 ms apart.
_CHROMA_WINDOW_SIZE = 4096
_CHROMA_HOP_SIZE = 512


def installed_detector(name: str | None = None) -> str:
    """The detector of a name; None: Tempo-CNN if it is installed, or else librosa.

    Raises:
      ValueError: it is unknown, or is not installed.
    """
    name = name or (TEMPOCNN if importlib.util.find_spec("tempocnn") else LIBROSA)
    if name not in DETECTORS:
        raise ValueError(f"beat detector {name!r} must be one of {', '.join(DETECTORS)}")
    if name == TEMPOCNN:
        tempo.require_installed()
    if name == MADMOM and not importlib.util.find_spec("madmom"):
        raise ValueError(
            "madmom, the beat tracker, is not installed: pip install '.[madmom]', or take "
            "music of steady tempo (--beat_detector=tempocnn or librosa)"
        )
    return name


def detect_beats(
    waveform: np.ndarray, sample_rate_hz: int, detector: str | None = None
) -> tuple[np.ndarray, float]:
    """Positions in beats along a piece.

    Args:
      waveform: float32 [n_samples], mono, in [-1, 1].
      sample_rate_hz: its rate.
      detector: 'tempocnn' or 'librosa', whose tempo a steady clock begins with; 'madmom', the
        networks of Böck et al. (ISMIR 2016) that follow tempos which change; None:
        see `installed_detector`.

    Returns:
      Points float64 [n, 2] of time in seconds and position, multiples of 4 where a bar is thought
      to begin; the single point (0, NaN) of a piece without a steady beat. And the confidence, from
      0 to 1: the clock's steadiness, or how likely madmom's beats are on average.

    Raises:
      ValueError: an unknown detector, one that is not installed, or a waveform of another shape.
    """
    detector = installed_detector(detector)
    if waveform.ndim != 1:
        raise ValueError(f"waveform has shape {waveform.shape}; beats are detected in mono audio")
    if detector == MADMOM:
        return _track_with_madmom(waveform, sample_rate_hz)
    clock = estimate_clock(waveform, sample_rate_hz, detector)
    if clock is None or clock.steadiness < MIN_STEADINESS:
        return np.array([[0.0, np.nan]]), clock.steadiness if clock else 0.0
    times = np.array([0.0, len(waveform) / sample_rate_hz])
    return np.stack([times, clock.positions(times)], axis=1), clock.steadiness


# A steady clock


@dataclasses.dataclass(frozen=True)
class Clock:
    """A steady tempo and where it begins to count.

    Attributes:
      tempo_bpm: beats per minute.
      first_seconds: of position 0, where a bar is thought to begin.
      steadiness: from 0 to 1, see `_steadiness`.
    """

    tempo_bpm: float
    first_seconds: float
    steadiness: float = 0.0

    def positions(self, times_seconds: np.ndarray) -> np.ndarray:
        """In beats, float64."""
        return (times_seconds - self.first_seconds) * self.tempo_bpm / 60.0


def estimate_clock(waveform: np.ndarray, sample_rate_hz: int, detector: str) -> Clock | None:
    """The clock that explains a piece best, however little that is.

    Args as those of `detect_beats`, without madmom. None of less than 5 s, and of silence.
    """
    if len(waveform) < _MIN_SECONDS * sample_rate_hz:
        return None
    resampled = soxr.resample(waveform, sample_rate_hz, _SAMPLE_RATE_HZ)
    strengths = _onset_strengths(resampled)
    if not strengths[0].any():
        return None
    first_bpm = _first_tempo(waveform, sample_rate_hz, detector)
    clock = _on_the_beat(strengths, _refined(strengths[0], first_bpm))
    bar_seconds = clock.first_seconds + _first_of_bar(resampled, clock) * 60.0 / clock.tempo_bpm
    return Clock(clock.tempo_bpm, bar_seconds, steadiness=_steadiness(strengths, clock))


def _first_tempo(waveform: np.ndarray, sample_rate_hz: int, detector: str) -> float:
    """A first estimate, by octaves inside the usual."""
    if detector == TEMPOCNN:
        tempo_bpm, _ = tempo.estimate_tempo(waveform, sample_rate_hz)
    else:
        import librosa

        tempo_bpm = float(np.ravel(librosa.feature.tempo(y=waveform, sr=sample_rate_hz))[0])
    slowest_bpm, fastest_bpm = _USUAL_BPM
    tempo_bpm *= 2.0 if tempo_bpm < slowest_bpm else 1.0
    return tempo_bpm / 2.0 if tempo_bpm > fastest_bpm else tempo_bpm


def _in_pieces(
    feature: Callable[[np.ndarray], np.ndarray],
    waveform: np.ndarray,
    window_size: int,
    hop_size: int,
) -> np.ndarray:
    """A feature [depth, n_frames] of a whole file."""
    piece = _PIECE_SECONDS * _SAMPLE_RATE_HZ // hop_size * hop_size
    starts = range(0, len(waveform) - window_size + 1, piece)
    overlap = window_size - hop_size
    return np.concatenate([feature(waveform[s : s + piece + overlap]) for s in starts], axis=1)


def _frame_times(n_frames: int, window_size: int, hop_size: int) -> np.ndarray:
    """Centres of frames, in seconds."""
    return (np.arange(n_frames) * hop_size + window_size / 2) / _SAMPLE_RATE_HZ


def _onset_strengths(waveform: np.ndarray) -> np.ndarray:
    """Of all frequencies, mean rise in dB, and of the bass, rise in amplitude: [2, n_frames].

    Decibels hear soft hats as well as loud drums; in amplitude the bass drum stands above the bass.
    """
    import librosa

    sizes = {"n_fft": _WINDOW_SIZE, "hop_length": _HOP_SIZE, "center": False}
    mel = functools.partial(
        librosa.feature.melspectrogram, sr=_SAMPLE_RATE_HZ, **sizes, **_MEL_BANDS
    )
    power = _in_pieces(lambda piece: mel(y=piece), waveform, _WINDOW_SIZE, _HOP_SIZE)
    everything = 10.0 * np.log10(power + _POWER_FLOOR)
    bass = np.sqrt(power[:_N_BASS_BANDS])
    rises = (np.maximum(np.diff(x, axis=1, prepend=x[:, :1]), 0.0) for x in (everything, bass))
    return np.stack([rise.mean(axis=0) for rise in rises])


def _refined(strength: np.ndarray, tempo_bpm: float) -> float:
    """The tempo near an estimate at whose multiples onset strength has most power."""
    # Padded, so that its spectrum is finely sampled.
    n_padded = 1 << (8 * len(strength)).bit_length()
    power = np.abs(np.fft.rfft(strength - strength.mean(), n_padded)) ** 2
    bins_a_bpm = n_padded * _HOP_SIZE / _SAMPLE_RATE_HZ / 60.0
    tempos = tempo_bpm * np.array([1.0 - _TEMPO_TOLERANCE, 1.0 + _TEMPO_TOLERANCE])
    bins = np.arange(*(tempos * bins_a_bpm), 1.0 / _N_HARMONICS)
    multiples = np.rint(bins[:, None] * np.arange(1, _N_HARMONICS + 1)).astype(int)
    return float(bins[power[multiples].sum(axis=1).argmax()] / bins_a_bpm)


def _folded(strengths: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """What happens in each part of a beat: [_N_PARTS], of frames at these positions in beats."""
    parts = (np.mod(positions, 1.0) * _N_PARTS).astype(int) % _N_PARTS
    n_frames = np.maximum(np.bincount(parts, minlength=_N_PARTS), 1)
    means = np.stack([np.bincount(parts, s, _N_PARTS) for s in strengths]) / n_frames
    everything, bass = means / np.maximum(means.sum(axis=1, keepdims=True), 1e-9)
    both = _WEIGHT_OF_ALL * everything + bass
    return np.roll(both, -1) + both + np.roll(both, 1)


def _on_the_beat(strengths: np.ndarray, tempo_bpm: float) -> Clock:
    """A clock of this tempo, or of double, that begins with a beat."""
    times = _frame_times(strengths.shape[1], _WINDOW_SIZE, _HOP_SIZE)
    folded = _folded(strengths, times * tempo_bpm / 60.0)
    peak = int(folded.argmax())
    left, top, right = folded[peak - 1], folded[peak], folded[(peak + 1) % _N_PARTS]
    vertex = 0.5 * (left - right) / min(left - 2 * top + right, -1e-9)
    beat = (peak + 0.5 + vertex) / _N_PARTS * 60.0 / tempo_bpm
    opposite = folded[(peak + _N_PARTS // 2) % _N_PARTS]
    is_half = tempo_bpm < _HALF_TEMPOS_BPM and opposite >= _ALIKE * top
    return Clock(2.0 * tempo_bpm if is_half else tempo_bpm, beat)


def _first_of_bar(waveform: np.ndarray, clock: Clock) -> int:
    """The beat, 0 to 3 after the clock's first, where harmony changes most from the two before."""
    import librosa

    sizes = {"n_fft": _CHROMA_WINDOW_SIZE, "hop_length": _CHROMA_HOP_SIZE, "center": False}
    chroma = functools.partial(
        librosa.feature.chroma_stft, sr=_SAMPLE_RATE_HZ, norm=None, tuning=0.0, **sizes
    )
    found = _in_pieces(
        lambda piece: chroma(y=piece), waveform, _CHROMA_WINDOW_SIZE, _CHROMA_HOP_SIZE
    )
    found = np.log1p(found / max(found.mean(), 1e-9))
    times = _frame_times(found.shape[1], _CHROMA_WINDOW_SIZE, _CHROMA_HOP_SIZE)
    beats = np.floor(clock.positions(times)).astype(int)
    first, n_frames = beats[0], np.bincount(beats - beats[0])
    by_beat = np.stack([np.bincount(beats - first, row) for row in found]) / np.maximum(n_frames, 1)
    until = np.cumsum(np.pad(by_beat, ((0, 0), (1, 0))), axis=1)
    # Not at the ends, where a beat is cut.
    begins = np.arange(3, by_beat.shape[1] - 3)
    changes = until[:, begins + 2] - 2.0 * until[:, begins] + until[:, begins - 2]
    phases = np.mod(begins + first, BEATS_A_BAR)
    sums = np.bincount(phases, np.linalg.norm(changes, axis=0), BEATS_A_BAR)
    return int(np.argmax(sums / np.maximum(np.bincount(phases, minlength=BEATS_A_BAR), 1)))


def _steadiness(strengths: np.ndarray, clock: Clock) -> float:
    """How far each ten seconds of a piece go by the same clock as the rest, from 0 to 1.

    Both are folded at the clock's period and compared (Pearson), so that a tempo that drifts or
    changes counts against it as well as onsets that keep to none. The mean, by onset strength.
    """
    times = _frame_times(strengths.shape[1], _WINDOW_SIZE, _HOP_SIZE)
    positions = clock.positions(times)
    parts = np.array_split(np.arange(len(times)), max(2, round(times[-1] / _JUDGED_SECONDS)))
    agreements, weights = [], []
    for part in parts:
        others = np.delete(np.arange(len(times)), part)
        own, rest = (_folded(strengths[:, i], positions[i]) for i in (part, others))
        agreements.append(statistics.pearson(own, rest))
        weights.append(strengths[0, part].sum())
    return max(0.0, float(np.average(agreements, weights=weights)))


# madmom


def _track_with_madmom(waveform: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, float]:
    network, track = _madmom_processors()
    waveform = soxr.resample(waveform, sample_rate_hz, onsets.MADMOM_SAMPLE_RATE_HZ)
    likely = network(onsets.madmom_signal(waveform))  # [n_frames, 2]: a beat, the first of a bar
    beats = track(likely)  # [n, 2]: time, number in the bar from 1
    if len(beats) < 2:
        return np.array([[0.0, np.nan]]), 0.0
    positions = beats[0, 1] - 1.0 + np.arange(len(beats))
    frames = np.clip(np.rint(beats[:, 0] * onsets.MADMOM_FPS).astype(int), 0, len(likely) - 1)
    return np.stack([beats[:, 0], positions], axis=1), float(likely[frames].sum(axis=1).mean())


@functools.cache
def _madmom_processors() -> tuple[Any, Any]:
    onsets.import_madmom()
    from madmom.features.downbeats import DBNDownBeatTrackingProcessor, RNNDownBeatProcessor

    track = DBNDownBeatTrackingProcessor(beats_per_bar=[BEATS_A_BAR], fps=onsets.MADMOM_FPS)
    return RNNDownBeatProcessor(), track
