"""What networks that others trained hear in a window of about a second: a vector a window.

musicnn   the penultimate layer of the taggers in the PyPI package of that name (Pons & Serra
          2019, https://arxiv.org/abs/1909.06654): convolutions across timbre and along time, a
          dense middle, pooling over time. Only its checkpoints are read: no code of it runs.
VGGish    any SavedModel that takes a mono waveform at 16 kHz, float32 [n_samples], and gives
          float32 [n_windows, n_channels], as VGGish on TensorFlow Hub does (paper §5).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping

import librosa
import numpy as np
import soxr
import tensorflow as tf

RATE_HZ = 16_000
TAGGERS = ("MSD_musicnn", "MTT_musicnn")
INSTALL = "pip install --no-deps musicnn==0.1.0"

# As the taggers were trained, but for the length of a window: they heard 3 s.
_N_MELS, _FFT_SIZE, _HOP_SIZE = 96, 512, 256
_N_WINDOWS_AT_ONCE = 32
_BATCH_NORM_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Embedding:
    """One network.

    Attributes:
      name: for tables.
      weights_sha256: of its files.
      embed: mono waveform at RATE_HZ, float32 [n_samples] → [n_windows, n_channels].
    """

    name: str
    weights_sha256: str
    embed: Callable[[np.ndarray], np.ndarray]

    def __call__(self, waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
        """Of whole windows of a waveform, float32 [n_samples, n_channels]: float64 [n, d]."""
        mono = soxr.resample(waveform.mean(axis=1), sample_rate_hz, RATE_HZ, quality="HQ")
        return np.asarray(self.embed(mono.astype(np.float32)), np.float64)


def open_all(
    taggers: Iterable[str] = TAGGERS[:1], vggish_dir: str | os.PathLike | None = None
) -> tuple[Embedding, ...]:
    """The networks that are asked for.

    Raises:
      ValueError: none is; an unknown tagger, or the package is not there; the SavedModel is no
        such network.
    """
    found = tuple(tagger(name) for name in taggers)
    if vggish_dir is not None:
        found += (vggish(vggish_dir),)
    if not found:
        raise ValueError("no embedding: name a tagger, or give a SavedModel with --vggish_dir")
    return found


def _sha256(paths: Iterable[pathlib.Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# VGGish


def vggish(folder: str | os.PathLike) -> Embedding:
    """A SavedModel on the disk; ValueError if it does not take a waveform and give vectors."""
    folder = pathlib.Path(folder)
    if not (folder / "saved_model.pb").is_file():
        raise ValueError(f"{folder} holds no SavedModel: --vggish_dir takes VGGish's folder")
    model = tf.saved_model.load(str(folder))

    def embed(mono: np.ndarray) -> np.ndarray:
        return model(tf.constant(mono)).numpy()

    try:
        shape = embed(np.zeros(2 * RATE_HZ, np.float32)).shape
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(f"{folder} takes no waveform float32 [n_samples]: {error}") from None
    if len(shape) != 2 or not shape[0]:
        raise ValueError(f"{folder} gives {shape} for 2 s: it must be [n_windows, n_channels]")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Embedding("VGGish", _sha256(files), embed)


# Taggers


def tagger(name: str) -> Embedding:
    """One of the taggers, hearing windows of 1 s; ValueError if it is not there."""
    if name not in TAGGERS:
        raise ValueError(f"there is no tagger {name}: there are {', '.join(TAGGERS)}")
    weights = read_weights(name)
    pooled = tf.function(
        functools.partial(penultimate, weights),
        input_signature=[tf.TensorSpec([None, None, _N_MELS])],
    )

    def embed(mono: np.ndarray) -> np.ndarray:
        whole = mono[: len(mono) // RATE_HZ * RATE_HZ].reshape(-1, RATE_HZ)
        n_batches = -(-len(whole) // _N_WINDOWS_AT_ONCE)
        batches = np.array_split(whole, n_batches) if n_batches else []
        found = [pooled(log_mel(batch)).numpy() for batch in batches]
        return np.concatenate(found) if found else np.zeros([0, weights["dense/bias"].shape[0]])

    return Embedding(name, _sha256(_folder(name).glob(".*")), embed)


def _folder(name: str) -> pathlib.Path:
    # Looks it up without importing it: that would need the TensorFlow of its time.
    spec = importlib.util.find_spec("musicnn")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"{name} is in the package musicnn, which is not installed: `{INSTALL}` (without its "
            "requirements, which are of 2019 and not needed)"
        )
    return pathlib.Path(spec.submodule_search_locations[0], name)


def read_weights(name: str) -> dict[str, tf.Tensor]:
    """The variables of a tagger's checkpoint by their names, without those of its optimizer."""
    # The name of the checkpoint is empty: its files are `.index` and `.data-…` in the folder.
    reader = tf.compat.v1.train.NewCheckpointReader(f"{_folder(name)}/")
    names = [key for key in reader.get_variable_to_shape_map() if "Adam" not in key]
    return {key: tf.constant(reader.get_tensor(key)) for key in names}


def log_mel(windows: np.ndarray) -> np.ndarray:
    """What a tagger is shown: float32 [n, n_samples] → [n, n_frames, 96]."""
    power = librosa.feature.melspectrogram(
        y=windows, sr=RATE_HZ, n_fft=_FFT_SIZE, hop_length=_HOP_SIZE, n_mels=_N_MELS
    )
    return np.log10(1e4 * power + 1.0).swapaxes(1, 2).astype(np.float32)


def penultimate(weights: Mapping[str, tf.Tensor], spectrograms: tf.Tensor) -> tf.Tensor:
    """The layer under the tags: float32 [n, n_frames, 96] → [n, 200]."""
    norm, conv = (functools.partial(layer, weights) for layer in (_batch_norm, _convolution))
    x = norm(0, spectrograms[..., tf.newaxis])
    # Kernels that reach over most of the spectrum, then such as reach along time.
    wide = tf.pad(x, [[0, 0], [3, 3], [0, 0], [0, 0]])
    parts = [norm(1 + i, conv(i, wide, "VALID")) for i in (0, 1)]
    parts += [norm(1 + i, conv(i, x, "SAME")) for i in (2, 3, 4)]
    front = tf.concat([tf.reduce_max(part, axis=2) for part in parts], axis=2)
    features = [front]
    for i in (5, 6, 7):
        wide = tf.pad(features[-1], [[0, 0], [3, 3], [0, 0]])[..., tf.newaxis]
        made = norm(1 + i, conv(i, wide, "VALID"))[:, :, 0]
        features.append(made if i == 5 else made + features[-1])
    found = tf.concat(features, axis=2)
    # Greatest and mean of each feature side by side.
    pooled = tf.stack([tf.reduce_max(found, axis=1), tf.reduce_mean(found, axis=1)], axis=2)
    pooled = norm(9, tf.reshape(pooled, [-1, 2 * found.shape[2]]))
    return norm(10, tf.nn.relu(pooled @ weights["dense/kernel"] + weights["dense/bias"]))


def _numbered(name: str, number: int) -> str:
    """As TF1 named the layers of a graph."""
    return f"{name}_{number}" if number else name


def _batch_norm(weights: Mapping[str, tf.Tensor], number: int, x: tf.Tensor) -> tf.Tensor:
    layer = _numbered("batch_normalization", number)
    names = ("moving_mean", "moving_variance", "beta", "gamma")
    values = (weights[f"{layer}/{name}"] for name in names)
    return tf.nn.batch_normalization(x, *values, _BATCH_NORM_EPSILON)


def _convolution(
    weights: Mapping[str, tf.Tensor], number: int, x: tf.Tensor, padding: str
) -> tf.Tensor:
    layer = _numbered("conv2d", number)
    made = tf.nn.conv2d(x, weights[f"{layer}/kernel"], 1, padding)
    return tf.nn.relu(made + weights[f"{layer}/bias"])
