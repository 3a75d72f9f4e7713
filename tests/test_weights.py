"""The trained models in weights/: whole, small, of a preset, and what they play is music."""

from __future__ import annotations

import pathlib

import librosa
import numpy as np
import pytest

from flags import system
from musika_tf.conditioning import controls
from musika_tf.player import open_player
from musika_tf.runs import checkpoint
from musika_tf.runs.run import Run, require_same_encoder

WEIGHTS = pathlib.Path(__file__).resolve().parent.parent / "weights"
PRESET = "small_techno"
CONDITIONING = {
    "orchestral": ["--nomid_side"],
    "piano": ["--conditioning=beats:beats:0:4:beats:50:130,note_density", "--nomid_side"],
    "techno": ["--conditioning=beats:beats:0:4:beats:110:170"],
    "universal": [],
}
CONTROLS = {
    "orchestral": [],
    # For this its generator is given 0.4, see its response.
    "piano": [controls.Beats(controls.Constant(80.0)), controls.Constant(0.411)],
    "techno": [controls.Beats(controls.Constant(128.0))],
}
MAX_BYTES = 25e6
# Spectral centroids of held-out music, ± an octave; noise lies at 5500 Hz.
CENTROID_HZ = {"orchestral": 1549, "piano": 788, "techno": 3222}
# Samples 4999, 9998, … of the piece of seed (1, 0), left and right.
PLAYED = {
    "orchestral": [
        [-0.1862603128, -0.1828108728],
        [0.0608929917, 0.0933993161],
        [0.0428150520, 0.2240765393],
        [0.0699095726, -0.0648500323],
    ],
    "piano": [
        [-0.0825436115, -0.0879048482],
        [0.1126926616, 0.1313108951],
        [-0.0051341881, 0.0189651325],
        [0.0699695349, 0.0524957255],
    ],
    "techno": [
        [-0.0122913299, -0.0413503163],
        [-0.0082664005, 0.0140498644],
        [0.0549978577, 0.0566665009],
        [0.0335048959, 0.0362046510],
    ],
}


def test_all_are_known():
    assert {path.name for path in WEIGHTS.iterdir()} == set(CONDITIONING)


@pytest.mark.parametrize("name", CONDITIONING)
def test_weights_are_small_and_belong_to_a_preset(name, parse_flags):
    files = list((WEIGHTS / name).rglob("*.safetensors"))
    assert 0 < sum(path.stat().st_size for path in files) <= MAX_BYTES
    flag_values = parse_flags(f"--preset={PRESET}", *CONDITIONING[name])
    preset = system.config(flag_values=flag_values)
    assert Run(WEIGHTS / name).config.as_trained == preset
    assert checkpoint.step_of(Run(WEIGHTS / name).autoencoder_checkpoint) > 0


@pytest.mark.parametrize("name", CONDITIONING)
def test_card_says_what_people_must_know(name):
    card = (WEIGHTS / name / "README.md").read_text()
    wanted = ("**Data", "ardware and time", "## Quality", "## Training", "curves.png")
    for word in (*wanted, f"`{PRESET}`"):
        assert word in card
    for picture in ("curves.png", *(["generated.png"] if "generated.png" in card else [])):
        assert (WEIGHTS / name / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", CONTROLS)
def test_every_gan_fits_the_universal_autoencoder(name):
    gan = Run(WEIGHTS / name).checkpoint("gan")
    require_same_encoder(gan, Run(WEIGHTS / "universal").encoder_fingerprint())


@pytest.mark.parametrize("name", PLAYED)
def test_what_is_played_stays_what_it_was(name):
    """As the release that trained them played it, sample by sample."""
    chunks = open_player(WEIGHTS / name).stream((1, 0), 2.0, CONTROLS[name], n_samples=40_000)
    music = np.concatenate(list(chunks))
    # Processors round differently; 3e-6 is -110 dB.
    np.testing.assert_allclose(music[4999::4999][:4], PLAYED[name], rtol=0, atol=3e-6)


@pytest.mark.parametrize("name", CENTROID_HZ)
def test_what_is_played_is_no_noise(name):
    player = open_player(WEIGHTS / name)
    n_samples = 2 * player.config.patch_n_samples
    music = np.concatenate(list(player.stream((1, 0), 2.0, CONTROLS[name], n_samples)))
    assert music.shape == (n_samples, 2)
    assert -35.0 < 20.0 * np.log10(np.sqrt(np.mean(music**2))) < -12.0
    # Hardly a sample is clipped.
    assert np.mean(np.abs(music) > 0.99) < 1e-3
    power = np.abs(librosa.stft(music.mean(axis=1))) ** 2
    frequencies = librosa.fft_frequencies(sr=22_050)
    centroids = frequencies @ power / np.maximum(power.sum(axis=0), 1e-9)
    centroid_hz = np.average(centroids, weights=power.sum(axis=0))
    loudest = np.sort(power.mean(axis=1))[::-1]
    # Tones: a hundredth of the bins holds most of the power.
    assert loudest[: len(loudest) // 100].sum() > 0.3 * loudest.sum()
    assert centroid_hz < 2 * CENTROID_HZ[name]
    # It goes on: both halves sound.
    first, second = np.split(music, 2)
    assert 0.1 < np.std(first) / np.std(second) < 10.0
