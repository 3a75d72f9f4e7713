"""What can be measured of music: level, spectrum, channels, rhythm; of latents too, seams.

Pure functions of arrays. Musika's waveforms come in excerpts that are decoded on their own, whose
latents come in patches that are generated on their own, so both may show where they meet:

    patches     |           patch           |           patch           |
    excerpts    | . . . | . . . | . . . | . . . | . . . | . . . | . . . | . . . |
    borders             e       e       e       p       e       e       e       p
"""

from __future__ import annotations

import dataclasses

import librosa
import numpy as np

from musika_tf import spectral, statistics
from musika_tf.conditioning import onsets
from musika_tf.config import AudioConfig, Config

# Full scale is 1: a sine of full scale has -3 dBFS. Silence is given as this.
LEAST_DB = -100.0
# From this absolute sample on it counts as clipped.
CLIPPED_LEVEL = 0.999
# Windows, and frames of the spectrum, below this are silent.
SILENT_DBFS = -60.0
SILENT_WINDOW_SECONDS = 0.5
# Share of a frame's magnitude that is below its rolloff.
ROLLOFF_SHARE = 0.85
# Nominal centres of octave bands (IEC 61260); each reaches half an octave to both sides.
BANDS_HZ = (63, 125, 250, 500, 1000, 2000, 4000, 8000)
# Range of tempo in which the onsets are compared with themselves.
SLOWEST_BPM, FASTEST_BPM = 60, 180
# Of the test of seams: so often chance is asked.
_N_TURNS = 999
_ROUNDING = 1e-9

_WINDOW_SIZE, _HOP_SIZE = 2048, 512
# Answers a second of the onset envelope: so fine that a step at 180 BPM is 3 % of a beat.
_ENVELOPE_RATE_HZ = 100


# Waveforms


def waveform_metrics(waveform: np.ndarray, sample_rate_hz: int) -> dict[str, float]:
    """Finite numbers by name of one piece, float32 [n_samples, 2] in [-1, 1], a second or longer.

    `rms_dbfs` and `peak` of both channels; `clipped_share` of samples; `silent_share` of windows;
    `spectral_centroid_hz`, `rolloff_hz`, `spectral_flatness` (0 to 1), as librosa defines them,
    means over all frames that are not silent, 0 without any; energy of octave bands relative to the
    whole, see `band_name`; `channel_correlation`, -1 to 1; `onsets_per_second`; `tempo_bpm`, 0
    without onsets; `tempo_strength`, up to 1, which a steady beat has.
    """
    left, right = waveform.T
    return {
        **level_metrics(waveform, sample_rate_hz),
        **_spectrum_metrics(waveform, sample_rate_hz),
        "channel_correlation": statistics.pearson(left, right),
        **_rhythm_metrics(waveform.mean(axis=1), sample_rate_hz),
    }


def band_name(centre_hz: int) -> str:
    """Name of an octave band's metric, `band_63_db` to `band_8000_db`."""
    return f"band_{centre_hz}_db"


def _db(power: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(np.maximum(power, 10.0 ** (LEAST_DB / 10.0)))


def level_metrics(waveform: np.ndarray, sample_rate_hz: int) -> dict[str, float]:
    """Those of `waveform_metrics` that are of the level: float32 [n_samples, 2]."""
    squares = np.square(waveform, dtype=np.float64).mean(axis=1)
    window_size = round(SILENT_WINDOW_SECONDS * sample_rate_hz)
    windows = window_means(squares[np.newaxis, :, np.newaxis], window_size)
    levels = np.abs(waveform)
    return {
        "rms_dbfs": float(_db(squares.mean())),
        "peak": float(levels.max()),
        "clipped_share": float(np.mean(levels >= CLIPPED_LEVEL)),
        "silent_share": float(np.mean(_db(windows) < SILENT_DBFS)),
    }


def _spectrum_metrics(waveform: np.ndarray, sample_rate_hz: int) -> dict[str, float]:
    spectrum = librosa.stft(
        np.ascontiguousarray(waveform.T), n_fft=_WINDOW_SIZE, hop_length=_HOP_SIZE, center=False
    )
    # Powers are added and not waveforms, which may be opposite in the two channels.
    power = np.square(np.abs(spectrum)).mean(axis=0)  # [n_bins, n_frames]
    # By Parseval's theorem, of a Hann window, whose squares have the mean 3/8.
    mean_squares = 2.0 * power.sum(axis=0) / (0.375 * _WINDOW_SIZE**2)
    magnitude = np.sqrt(power[:, _db(mean_squares) >= SILENT_DBFS])
    frames = {
        "spectral_centroid_hz": librosa.feature.spectral_centroid(S=magnitude, sr=sample_rate_hz),
        "rolloff_hz": librosa.feature.spectral_rolloff(
            S=magnitude, sr=sample_rate_hz, roll_percent=ROLLOFF_SHARE
        ),
        "spectral_flatness": librosa.feature.spectral_flatness(S=magnitude),
    }
    means = {name: float(values.mean()) if values.size else 0.0 for name, values in frames.items()}
    return means | _band_metrics(power.mean(axis=1), sample_rate_hz)


def _band_metrics(power: np.ndarray, sample_rate_hz: int) -> dict[str, float]:
    """Energy of the octave bands relative to the whole, of mean powers [n_bins]."""
    frequencies = librosa.fft_frequencies(sr=sample_rate_hz, n_fft=_WINDOW_SIZE)
    total, half_octave = max(power.sum(), np.finfo(np.float32).tiny), np.sqrt(2.0)
    edges = np.multiply.outer(BANDS_HZ, [1.0 / half_octave, half_octave])
    ranges = np.searchsorted(frequencies, edges)
    return {
        band_name(hz): float(_db(power[first:end].sum() / total))
        for hz, (first, end) in zip(BANDS_HZ, ranges, strict=True)
    }


def _rhythm_metrics(mono: np.ndarray, sample_rate_hz: int) -> dict[str, float]:
    found = onsets.detect_onsets(mono, sample_rate_hz, onsets.LIBROSA)
    envelope, hop_size = _onset_envelope(mono, sample_rate_hz)
    tempo_bpm = 0.0
    if envelope.any():
        (tempo_bpm,) = librosa.feature.tempo(
            onset_envelope=envelope, sr=sample_rate_hz, hop_length=hop_size
        )
    return {
        "onsets_per_second": len(found) * sample_rate_hz / len(mono),
        "tempo_bpm": float(tempo_bpm),
        "tempo_strength": _strength(envelope, sample_rate_hz / hop_size),
    }


def tempo_strength(mono: np.ndarray, sample_rate_hz: int) -> float:
    """That of `waveform_metrics`, of the mean of both channels, float32 [n_samples]."""
    envelope, hop_size = _onset_envelope(mono, sample_rate_hz)
    return _strength(envelope, sample_rate_hz / hop_size)


def _onset_envelope(mono: np.ndarray, sample_rate_hz: int) -> tuple[np.ndarray, int]:
    """How much begins in each frame, and samples from one to the next."""
    hop_size = round(sample_rate_hz / _ENVELOPE_RATE_HZ)
    return librosa.onset.onset_strength(y=mono, sr=sample_rate_hz, hop_length=hop_size), hop_size


def _strength(envelope: np.ndarray, rate_hz: float) -> float:
    """Largest normalised autocorrelation of an onset envelope [n_frames] at lags of a beat; 0 for
    one that never changes, or is shorter than the shortest lag."""
    first, last = (round(60.0 * rate_hz / bpm) for bpm in (FASTEST_BPM, SLOWEST_BPM))
    lags = range(first, min(last, len(envelope) - 2) + 1)
    return max((statistics.pearson(envelope[:-lag], envelope[lag:]) for lag in lags), default=0.0)


# Latents


def window_means(latents: np.ndarray, n_latents: int) -> np.ndarray:
    """Means over whole windows that do not overlap: [n_pieces, n_steps, depth] →
    [n_pieces·(n_steps // n_latents), depth]."""
    n_pieces, n_steps, depth = latents.shape
    n_windows = n_steps // n_latents
    whole = latents[:, : n_windows * n_latents]
    return whole.reshape(n_pieces * n_windows, n_latents, depth).mean(axis=1)


# Seams


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where excerpts and patches meet, in steps of frames or of latents."""

    excerpt_length: int
    patch_length: int
    reach: int  # so many steps to each side of a border see both of what meets there

    @classmethod
    def of_frames(cls, config: Config) -> Grid:
        """Of frames of the STFT that decoders write: windows reach over borders."""
        n_frames = config.audio.excerpt_n_frames
        n_excerpts = config.gan.seq_len // config.excerpt_n_latents
        reach = config.audio.overlap_size // config.audio.hop_size
        return cls(n_frames, n_excerpts * n_frames, reach)

    @classmethod
    def of_latents(cls, config: Config) -> Grid:
        """Of latent steps."""
        return cls(config.excerpt_n_latents, config.gan.seq_len, 0)

    def ratios(self, changes: np.ndarray, first: int = 0) -> dict[str, float | None]:
        """How much more changes at borders than elsewhere.

        Args:
          changes: float [n_pieces, n_steps - 1]: change i of a piece is from its step i to the
            next one.
          first: where on the grid a piece's step 0 is.

        Returns:
          `excerpt_ratio`, where excerpts of one patch meet, and `patch_ratio`, where patches
          meet: mean change there over the mean change away from all borders; 1: no seam, None:
          no such border.
        """
        is_excerpt, is_patch, is_elsewhere = self._places(changes.shape[1], first)
        elsewhere = changes[:, is_elsewhere]
        return {
            "excerpt_ratio": _ratio(changes[:, is_excerpt], elsewhere),
            "patch_ratio": _ratio(changes[:, is_patch], elsewhere),
        }

    def tested(self, changes: np.ndarray, first: int = 0) -> dict[str, float | None]:
        """`ratios`, and of each how often one as large comes by chance: `excerpt_p`, `patch_p`.

        Chance: every piece is turned round along time by steps of its own, uniformly, so that what
        follows what stays and where the borders fall is drawn. Below 0.01 it is a seam.
        """
        found, (n_pieces, n_steps) = self.ratios(changes, first), changes.shape
        turns = np.random.default_rng(0).integers(n_steps, size=(_N_TURNS, n_pieces))
        excerpts, patches, elsewhere = (
            _turned_sums(changes, mask, turns) / max(1, mask.sum() * n_pieces)
            for mask in self._places(n_steps, first)
        )
        for of, borders in (("excerpt", excerpts), ("patch", patches)):
            ratio, p = found[f"{of}_ratio"], None
            if ratio is not None:
                # What is as large counts, whatever the rounding.
                is_as_large = borders >= (1.0 - _ROUNDING) * ratio * elsewhere
                p = (1 + np.count_nonzero(is_as_large)) / (_N_TURNS + 1)
            found[f"{of}_p"] = p
        return found

    def _places(self, n_changes: int, first: int) -> tuple[np.ndarray, ...]:
        """Which changes are where excerpts meet, where patches meet, and away from all borders."""
        steps = first + 1 + np.arange(n_changes)
        is_at_start = steps <= self.reach
        is_patch = self._is_near(steps, self.patch_length) & ~is_at_start
        is_border = self._is_near(steps, self.excerpt_length)
        return is_border & ~is_patch & ~is_at_start, is_patch, ~is_border

    def _is_near(self, steps: np.ndarray, period: int) -> np.ndarray:
        after = steps % period
        return (after <= self.reach) | (after >= period - self.reach)


def _turned_sums(changes: np.ndarray, mask: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Sums of what a mask [n_steps] lets through of pieces [n_pieces, n_steps], each turned round
    by so many steps, int [n_draws, n_pieces] → float64 [n_draws]."""
    # Of all turns of a piece at once: a circular correlation.
    products = np.fft.rfft(changes) * np.conj(np.fft.rfft(mask.astype(np.float64)))
    of_all_turns = np.fft.irfft(products, n=changes.shape[1])
    return of_all_turns[np.arange(len(changes)), turns].sum(axis=1)


def _ratio(at_borders: np.ndarray, elsewhere: np.ndarray) -> float | None:
    if not at_borders.size or not elsewhere.size or not elsewhere.any():
        return None
    return float(at_borders.mean() / elsewhere.mean())


def spectral_flux(waveform: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Mean absolute change of scaled log magnitudes from frame to frame, over bins and channels:
    float32 [n_samples, n_channels] → [n_frames - 1]."""
    spectrogram = spectral.log_spectrogram(waveform.T, audio.window_size, audio.hop_size).numpy()
    return np.abs(np.diff(spectrogram, axis=1)).mean(axis=(0, 2))


def latent_changes(latents: np.ndarray) -> np.ndarray:
    """Mean absolute change from step to step: [n_pieces, n_steps, depth] → [.., n_steps - 1]."""
    return np.abs(np.diff(latents, axis=1)).mean(axis=2)
