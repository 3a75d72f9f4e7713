"""Where the steps of latents lie in time, and what lies between points in time.

A latent is computed from the STFT frames that begin in its own step, and the last of them reaches
overlap_size = window_size - hop_size samples further. So the centre of what it sees, and of what is
decoded from it, is overlap_size / 2 later than the middle of its own samples. Drawn with steps of 4
hops and windows of 4:

    step 0          step 1          step 2          of a padded file, or of audio as it is decoded
    |---|---|---|---|---|---|---|---|---|---|---|---|
    [-- frame  0 --]
        [-- frame  1 --]
            [-- frame  2 --]
                [-- frame  3 --]    the last one of step 0, which sees step + overlap_size samples
                  ^                 and so has its centre at (step + overlap_size) / 2
"""

from __future__ import annotations

import numpy as np

from musika_tf.config import Config


def centres_seconds(
    config: Config, start: int, n_steps: int, n_samples_before: int = 0
) -> np.ndarray:
    """Times of the centres of latent steps start … start + n_steps - 1: float64 [n_steps].

    So many samples of the latents' timeline are before time 0: overlap_size for an encoded file
    (the zeros before it), 0 for audio as the decoder gives it. The first step may be negative.
    """
    audio, r = config.audio, config.latent_hop_size
    first_sample = audio.overlap_size // 2 - n_samples_before + start * r
    return (first_sample + r * (np.arange(n_steps) + 0.5)) / audio.sample_rate_hz


def gone_on(at: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at `at` on straight lines between points, of which the first and last go on.

    Args:
      at: [n], in any order.
      times, values: of the points, [P]; times rise; a single point is held.
    """
    found = np.interp(at, times, values)
    if len(times) > 1:
        first = (values[1] - values[0]) / (times[1] - times[0])
        last = (values[-1] - values[-2]) / (times[-1] - times[-2])
        found += first * np.minimum(at - times[0], 0.0) + last * np.maximum(at - times[-1], 0.0)
    return found


def area(until: np.ndarray, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Integral from time 0 of straight lines between points, held before time 0 as they are there.

    Args:
      until: [n] from anywhere, in any order.
      times, values: of the points, [P]; times rise; held before the first and after the last.
    """

    def from_first_point(at: np.ndarray) -> np.ndarray:
        inside = np.clip(at, times[0], times[-1])
        before = np.searchsorted(times, inside, side="right") - 1
        value = np.interp(inside, times, values)
        rest = (inside - times[before]) * (values[before] + value) / 2.0
        return areas[before] + rest + (at - inside) * value

    areas = np.append(0.0, np.cumsum(np.diff(times) * (values[1:] + values[:-1]) / 2.0))
    after_0 = from_first_point(np.maximum(until, 0.0)) - from_first_point(np.zeros(1))
    return after_0 + np.minimum(until, 0.0) * np.interp(0.0, times, values)
