"""What a report says of a model beside real music: distances, long form, seams, Opus, speed."""

from __future__ import annotations

import dataclasses
import time

import keras
import numpy as np
import pytest
from random_model import RATE_HZ, save_random_run, write_waveforms

from musika_tf.conditioning import controls
from musika_tf.evaluation import (
    adherence,
    distances,
    long_form,
    motion,
    music,
    quality,
    reconstruction,
)
from musika_tf.evaluation import speed as speed_lib
from musika_tf.evaluation.embeddings import Embedding
from musika_tf.generation import Request
from musika_tf.player import open_player
from musika_tf.runs.run import Run


def level_and_noise(mono: np.ndarray) -> np.ndarray:
    """Of each quarter of a second: level, and how much changes from sample to sample."""
    windows = mono[: len(mono) // 4000 * 4000].reshape(-1, 4000)
    return np.stack([windows.std(axis=1), np.diff(windows).std(axis=1)], axis=1)


HEARD = Embedding("levels", "0" * 64, level_and_noise)


@pytest.fixture(scope="module")
def system(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof")
    keras.utils.set_random_seed(0)
    save_random_run(folder / "run", tiny_config)
    write_waveforms(folder / "data")
    return quality.load(Run(folder / "run"), folder / "data", Request(seconds=6.0, seed=4))


@pytest.fixture(scope="module")
def run_player(system):
    return open_player(system.run.folder)


# Distances


def test_distances_are_of_what_they_are_called(system, run_player):
    settings = adherence.Settings(system.request)
    kinds = {name: list(group) for name, group in distances.kinds(system, run_player, settings)}
    names = ["reference", "real", "reconstructed", "generated", "untrained"]
    assert list(kinds) == names
    n_crops, n_samples = distances.crops(system)
    assert {(len(group), *group[0].shape) for group in kinds.values()} == {(n_crops, n_samples, 2)}
    (reference,) = kinds["reference"]
    real = system.shards.fixed_crops(1, n_samples)[0] / 32_768
    np.testing.assert_array_equal(reference, real.astype(np.float32))
    decoded = system.codec.decode(system.codec.encode(reference), n_samples)
    np.testing.assert_array_equal(kinds["reconstructed"][0], decoded)
    asked = dataclasses.replace(system.request, seconds=n_samples / RATE_HZ)
    generated = quality.generate(system.trained, asked, 0)
    np.testing.assert_allclose(kinds["generated"][0], generated, atol=1e-5)
    found = distances.measure(system, run_player, settings, [HEARD])["levels"]
    assert list(found) == names[1:]
    wanted = distances.distance(HEARD(reference, RATE_HZ), HEARD(decoded, RATE_HZ))
    assert found["reconstructed"] == wanted
    assert wanted["n_windows"] == n_samples * 16_000 // RATE_HZ // 4000


def test_conditions_are_constants_and_walks(beats_config, tempo_and_own):
    settings = adherence.Settings(Request(), note_densities=(0.3, 0.75), tempos_bpm=(120, 140))
    found = distances.conditions(beats_config, settings)
    middles = controls.middles(beats_config.conditioning.signals)
    assert found["generated"] == middles and middles["note_density"] == "0.5"
    assert found["note_density 0.3"] == middles | {"note_density": "0.3"}
    assert found["tempo_bpm 140"] == middles | {"tempo_bpm": "140"}
    walk = found["note_density random walk:0.3:0.75"]
    assert walk == middles | {"note_density": "random_walk:0.3:0.75"}
    assert len(found) == 1 + 3 + 2
    for texts in found.values():
        controls.parse_all(texts, beats_config.conditioning.signals)
    assert list(distances.conditions(tempo_and_own, settings)) == [
        "generated",
        "tempo_bpm 120",
        "tempo_bpm 140",
    ]


@pytest.fixture
def tempo_and_own(parse_flags):
    from flags import system as system_flags

    words = ("--preset=tiny", "--conditioning=tempo_bpm:110:170,energy:share:0:1:piece")
    return system_flags.config(flag_values=parse_flags(*words))


# Long form


def test_coherence_by_all_pairs():
    rng = np.random.default_rng(0)
    pieces = long_form.directions({"real": list(rng.normal(size=(3, 12, 4)))})["real"]
    found = long_form.coherence(pieces)
    within = [x[i] @ x[j] for x in pieces for i in range(12) for j in range(12) if abs(i - j) >= 5]
    across = [
        a[i] @ b[j] for a in pieces for b in pieces if a is not b for i in range(12)
        for j in range(12)
    ]  # fmt: skip
    assert found["within"] == pytest.approx(np.mean(within))
    assert found["across"] == pytest.approx(np.mean(across))
    assert (found["n_pieces"], found["seconds"]) == (3, 12)


def test_pieces_with_a_style_are_coherent_and_those_without_are_not():
    rng = np.random.default_rng(0)
    noise, styles = rng.normal(size=(6, 40, 20)), rng.normal(size=(6, 1, 20))
    with_style, without = (
        long_form.coherence(long_form.directions({"x": list(noise + k * styles)})["x"])
        for k in (3.0, 0.0)
    )
    # The share of all variance that is between pieces.
    assert with_style["difference"] == pytest.approx(0.9 * 6 / 5, abs=0.1)
    assert without["difference"] == pytest.approx(0.0, abs=0.02)


def test_the_longest_real_pieces_are_taken(system):
    (real,) = long_form.longest(system, Request(seconds=5.0, n_pieces=2))
    assert real.shape == (5 * RATE_HZ, 2)
    pieces = long_form.directions({"real": [np.eye(9)], "generated": [np.eye(12)[:, :9]] * 2})
    found = long_form.coherences(pieces)
    assert [found[k]["seconds"] for k in ("real", "generated", "generated, whole")] == [9, 9, 12]


def test_what_stands_still_and_what_is_noise_is_out_of_the_range_of_music(tiny_config):
    rng, audio, size = np.random.default_rng(0), tiny_config.audio, 10 * RATE_HZ
    times = np.arange(size) / RATE_HZ
    tones = np.sin(2 * np.pi * 440 * 2 ** (np.floor(times * 2) % 7 / 12) * times)
    drone, noise = np.sin(2 * np.pi * 440 * times), 0.3 * rng.normal(size=size)
    half_silent = np.where(times < 5.0, tones, 0.0)
    made = {"real": [tones], "generated": [tones, drone, noise, half_silent]}
    pieces = {
        kind: [np.tile(0.1 * x[:, np.newaxis], 2).astype(np.float32) for x in group]
        for kind, group in made.items()
    }
    moves = motion.metrics(pieces, audio)
    found = moves["generated"]
    assert moves["real"][0] == found[0]
    rows = [[row[f"percent_{side}"] for side in ("below", "above")] for row in found]
    assert rows == [[0, 0], [100, 0], [0, 100], [50, 0]]
    assert [round(row["silent_percent"]) for row in found] == [0, 0, 0, 50]
    assert motion.worst(found[:1] * 3) == 0 and motion.worst(found[::3]) == 1
    # By the definition: the mean change of log magnitudes of the first five seconds.
    assert found[0]["flux_least"] == pytest.approx(
        min(music.spectral_flux(pieces["real"][0][i : i + 5 * RATE_HZ], audio).mean()
            for i in (0, 5 * RATE_HZ))
    )  # fmt: skip


# Seams


@pytest.mark.parametrize("planted", [True, False])
def test_a_seam_is_told_from_chance(tiny_config, planted):
    """Noise that knows what came before, and larger steps where patches meet, or not."""
    rng, patch = np.random.default_rng(1), tiny_config.gan.seq_len
    changes = np.abs(np.cumsum(rng.normal(0, 0.1, (20, 4 * patch - 1)), axis=1)) + 1.0
    changes[:, patch - 1 :: patch] *= 1.5 if planted else 1.0
    found = music.Grid.of_latents(tiny_config).tested(changes)
    assert (found["patch_p"] <= 0.001) is planted
    assert found["excerpt_p"] > 0.05


def test_turned_sums_are_those_of_rolled_pieces():
    rng = np.random.default_rng(0)
    changes, mask = rng.gamma(2.0, 1.0, (3, 17)), rng.random(17) < 0.3
    turns = rng.integers(17, size=(5, 3))
    wanted = [
        sum(np.roll(x, -turn)[mask].sum() for x, turn in zip(changes, row, strict=True))
        for row in turns
    ]
    np.testing.assert_allclose(music._turned_sums(changes, mask, turns), wanted)


def test_by_chance_every_p_is_as_likely(tiny_config):
    rng, grid = np.random.default_rng(0), music.Grid.of_latents(tiny_config)
    shape = (60, 2, 2 * tiny_config.gan.seq_len - 1)
    found = [grid.tested(changes)["patch_p"] for changes in rng.gamma(2.0, 1.0, shape)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / len(found)))


# Opus


def test_opus_takes_what_it_is_told_and_gets_better_with_it():
    rng, times = np.random.default_rng(0), np.arange(4 * RATE_HZ) / RATE_HZ
    decay = np.exp(-4 * (times % 0.5))
    tones = sum(np.sin(2 * np.pi * hz * times) for hz in rng.uniform(100, 3000, 6))
    wave = (0.1 * tones * decay + 0.01 * rng.normal(size=len(times))).astype(np.float32)
    errors = []
    for kbits in (12, 24, 96):
        decoded, taken = reconstruction.opus(wave, RATE_HZ, kbits)
        assert taken == pytest.approx(kbits, rel=0.25)
        assert decoded.shape == wave.shape
        errors.append(np.mean((decoded - wave) ** 2) / np.mean(wave**2))
    assert errors[0] > errors[1] > errors[2] < 0.05


# Speed


def test_speed_is_what_a_clock_says(run_player, monkeypatch):
    """Of a model that takes 20 ms more a chunk, and 20 MiB more of memory every time."""
    kept, decode = [], run_player.decode

    def slow(latents, overlap):
        time.sleep(0.02)
        kept.append(np.ones(20 * 2**17))
        return decode(latents, overlap)

    monkeypatch.setattr(run_player, "decode", slow)
    found = speed_lib.measure(lambda: run_player, Request(seconds=20.0))
    assert min(found["first_chunk"], found["steered_chunk"]) > 0.02
    assert found["first_chunk_cold"] > 0.02
    audio = run_player.config.audio
    assert found["excerpt"] == audio.excerpt_n_samples / audio.sample_rate_hz
    assert found["times_real_time"] > 1
    assert found["memory_mib_end"] > found["memory_mib_begin"] + 20
