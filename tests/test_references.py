"""References: what is known of the music in the shards, and what a report says of it."""

import dataclasses

import numpy as np
import pytest

from musika_tf.conditioning.controls import Constant
from musika_tf.conditioning.timeline import centres_seconds
from musika_tf.config import ConditioningConfig
from musika_tf.data import datasets
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.evaluation import adherence, adherence_report, music, references
from musika_tf.evaluation.references import References
from musika_tf.signals import KNOWN_SIGNALS

RATE_HZ = 22_050
DENSITY, TEMPO = KNOWN_SIGNALS["note_density"], KNOWN_SIGNALS["tempo_bpm"]


@pytest.fixture(scope="module")
def data_dir(conditional_config, tmp_path_factory):
    """Clicks twice a second to hold out, noise to train on, and a density that rises in it."""
    folder = tmp_path_factory.mktemp("references")
    rng = np.random.default_rng(0)
    clicks = np.zeros((8 * RATE_HZ, 2))
    for begin in range(0, len(clicks), RATE_HZ // 2):
        clicks[begin : begin + 400] = rng.normal(size=(400, 2))
    metadata = datasets.waveform_metadata(conditional_config.audio)
    with ShardWriter(folder, 2, np.int16, metadata) as writer:
        writer.add("clicks.wav", (5000 * clicks.clip(-5, 5)).astype(np.int16), "validation")
        noise = rng.normal(0, 1000, (10 * RATE_HZ, 2))
        writer.add("noise.wav", noise.astype(np.int16), "train")
    rows = "clicks.wav,0,0.9\nnoise.wav,0,0.0\nnoise.wav,10,0.5\n"
    (folder / "labels-note_density.csv").write_text("file,time_seconds,value\n" + rows)
    return folder


def test_held_out_music_and_the_labels_of_training(conditional_config, data_dir, autoencoder):
    config = conditional_config
    found = references.measure(config, 7.0, data_dir, autoencoder)
    assert list(found.tempo_strength) == ["real", "reconstructed"]
    # The clicks are as steady as can be; random networks leave nothing of them as it was.
    assert found.tempo_strength["real"] > 0.8
    assert found.tempo_strength["reconstructed"] < found.tempo_strength["real"]
    # Of a straight line the quantiles lie where 5 % and 95 % of the time have passed.
    times = centres_seconds(config, 0, -(-10 * RATE_HZ // config.latent_hop_size))
    wanted = np.quantile(0.05 * times.clip(0, 10), [0.05, 0.95])
    assert list(found.ranges) == ["note_density"]
    np.testing.assert_allclose(found.ranges["note_density"], wanted, rtol=1e-5)


def test_without_a_tempo_there_is_no_strength(conditional_config, data_dir):
    density = dataclasses.replace(conditional_config, conditioning=ConditioningConfig((DENSITY,)))
    assert references.measure(density, 7.0, data_dir).tempo_strength == {}


def test_the_tempo_strength_is_that_of_quality():
    mono = np.random.default_rng(0).normal(size=4 * RATE_HZ).astype(np.float32)
    wanted = music.waveform_metrics(np.stack([mono, mono], axis=1), RATE_HZ)["tempo_strength"]
    assert music.tempo_strength(mono, RATE_HZ) == pytest.approx(wanted)


def saturated() -> adherence.Result:
    """A model that follows up to 0.45, and cannot go further."""
    constants = {}
    for value in (0.15, 0.30, 0.45, 0.60, 0.75):
        task = adherence.Task(DENSITY, Constant(value), 0)
        at, measured = np.zeros(3), np.full(3, min(value, 0.45))
        constants[value] = [adherence.Sample(task, at, measured, measured, {}, at)]
    return adherence.Result(DENSITY, constants, {}, {}, (), None, None)


def test_constants_that_the_data_hold_count_alone():
    found = References({}, {"note_density": (0.1, 0.5)}).metrics(saturated())
    assert found == pytest.approx({"low": 0.1, "high": 0.5, "pearson_r": 1.0, "slope": 1.0})
    everywhere = References({}, {"note_density": (0.1, 0.8)}).metrics(saturated())
    assert everywhere["slope"] == pytest.approx(0.5)
    for ranges in ({}, {"note_density": (0.2, 0.4)}):
        assert References({}, ranges).metrics(saturated()) is None


def test_the_report_says_it():
    inside = {"low": 0.1, "high": 0.5, "pearson_r": 0.95, "slope": 0.7}
    signals = {"note_density": {"in_data": inside}, "tempo_bpm": {"in_data": None}}
    values = {"real_tempo_strength": {"real": 0.81, "reconstructed": 0.79}, "signals": signals}
    assert list(adherence_report._beside(values, DENSITY)) == [
        "Constants from 0.1 to 0.5, where 90 % of the training data lie: Pearson r 0.950, slope "
        "0.700."
    ]
    assert list(adherence_report._beside(values, TEMPO)) == [
        "Tempo strength of held-out music: real 0.81, reconstructed 0.79."
    ]
