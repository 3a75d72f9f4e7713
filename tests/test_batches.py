"""Batches: values against the shards' own rows, and the same batch for the same step always."""

import numpy as np
import pytest

from musika_tf.config import ConditioningConfig, Config, Signal
from musika_tf.data import datasets
from musika_tf.data.batches import LatentBatches, WaveformBatches
from musika_tf.data.latent_labels import LatentSignals
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.shards import Shards
from musika_tf.signals import KNOWN_SIGNALS
from musika_tf.training import pipeline


@pytest.fixture
def waveform_shards(tmp_path):
    """One source of a ramp: the left channel counts up from 0, the right one down from -1."""
    ramp = np.arange(32_768, dtype=np.int16)
    with ShardWriter(tmp_path / "waveforms", 2, "int16", {}) as writer:
        writer.add("ramp", np.stack([ramp, -1 - ramp], axis=1), "train")
    return Shards.open(tmp_path / "waveforms")


@pytest.fixture
def latent_shards(tmp_path):
    latents = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float16)
    with ShardWriter(tmp_path / "latents", 6, "float16", {}) as writer:
        writer.add("a", latents, "train")
    return Shards.open(tmp_path / "latents")


def test_waveforms_are_one_channel_scaled(waveform_shards):
    (batch,) = WaveformBatches(waveform_shards, 64, 1000, seed=0)(0)
    assert (batch.shape, batch.dtype) == ((64, 1000), np.float32)
    slopes = np.diff(batch, axis=1)
    np.testing.assert_array_equal(np.abs(slopes), np.float32(1 / 32_768))
    # Every crop keeps to its channel, and both channels are drawn.
    is_left = batch[:, 0] >= 0
    np.testing.assert_array_equal((slopes > 0).all(axis=1), is_left)
    assert 16 < is_left.sum() < 48


def test_waveforms_stay_within_full_scale(waveform_shards):
    (batch,) = WaveformBatches(waveform_shards, 8, 32_768, seed=0)(0)
    assert batch.min() == -1.0
    assert batch.max() == np.float32(32_767 / 32_768)


def test_latents_are_rows_of_the_source(latent_shards):
    (batch,) = LatentBatches(latent_shards, 5, 32, seed=1)(3)
    assert (batch.shape, batch.dtype) == ((5, 32, 6), np.float32)
    rows = latent_shards.rows(latent_shards.sources[0]).astype(np.float32)
    for crop in batch:
        first = np.flatnonzero((rows == crop[0]).all(axis=1))[0]
        np.testing.assert_array_equal(crop, rows[first : first + 32])


def test_a_batch_depends_on_seed_and_step_alone(latent_shards):
    one = LatentBatches(latent_shards, 4, 32, seed=5)
    other = LatentBatches(latent_shards, 4, 32, seed=5)
    forward = [one(step)[0] for step in range(4)]
    backward = [other(step)[0] for step in reversed(range(4))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert not np.array_equal(forward[0], forward[1])
    assert not np.array_equal(forward[0], LatentBatches(latent_shards, 4, 32, seed=6)(0)[0])


def test_specs_tell_the_arrays(waveform_shards, latent_shards):
    for batches in (
        WaveformBatches(waveform_shards, 2, 10, 0),
        LatentBatches(latent_shards, 3, 7, 0),
    ):
        assert [(a.shape, a.dtype) for a in batches(0)] == [tuple(s) for s in batches.array_specs]


def test_a_pipeline_resumes_at_any_step(waveform_shards):
    batches = WaveformBatches(waveform_shards, 2, 100, seed=0)
    dataset = pipeline.dataset(batches, first_step=1_000_000)
    (spec,) = dataset.element_spec
    assert spec.shape == (2, 100)
    for step, (batch,) in zip(range(1_000_000, 1_000_020), dataset, strict=False):
        np.testing.assert_array_equal(batch, batches(step)[0])


def test_wrong_shards_are_refused(waveform_shards, latent_shards):
    with pytest.raises(ValueError, match="float16, which are not waveforms"):
        WaveformBatches(latent_shards, 2, 10, 0)
    with pytest.raises(ValueError, match="int16, which are not latents"):
        LatentBatches(waveform_shards, 2, 10, 0)


def test_bad_sizes_are_refused(latent_shards):
    with pytest.raises(ValueError, match="batch_size=0"):
        LatentBatches(latent_shards, 0, 10, 0)
    with pytest.raises(ValueError, match="takes 501 rows"):
        LatentBatches(latent_shards, 2, 501, 0)
    with pytest.raises(ValueError, match="seed=-1"):
        LatentBatches(latent_shards, 2, 10, -1)
    with pytest.raises(ValueError, match="first_step=-1"):
        pipeline.dataset(LatentBatches(latent_shards, 2, 10, 0), -1)


# Conditioning

POSITION = Signal("position", "latents", 0.0, 1000.0, "step")
TEMPO = Signal("tempo_bpm", "beats per minute", 110.0, 170.0, "piece")


def write_labelled(folder, labels_metadata, **labels):
    """Two sources of latents that say which they are: source number, then position."""
    names = tuple(labels)
    metadata = datasets.latent_metadata(Config(), "", {}, labels_metadata)
    with ShardWriter(folder, 2, "float32", metadata, label_names=names) as writer:
        for number, n_rows in enumerate((300, 200)):
            rows = np.stack([np.full(n_rows, number), np.arange(n_rows)], axis=1)
            columns = [np.broadcast_to(labels[name](number, rows[:, 1]), n_rows) for name in names]
            values = np.stack(columns, axis=1).astype(np.float32)
            writer.add(f"source {number}", rows.astype(np.float32), "train", values)
    return Shards.open(folder)


@pytest.fixture
def labelled_shards(tmp_path):
    curve = {"kind": "curve"}
    return write_labelled(
        tmp_path / "labelled",
        {"tempo_bpm": curve, "position": curve, "unused": curve},
        unused=lambda number, row: -1.0,
        tempo_bpm=lambda number, row: 120.0 + 20.0 * number + (row % 2),
        position=lambda number, row: row + 500.0 * number,
    )


def test_conditioning_belongs_to_the_latents(labelled_shards):
    conditioning = ConditioningConfig((POSITION, TEMPO))
    batches = LatentBatches(labelled_shards, 64, 32, seed=0, conditioning=conditioning)
    latents, conditioning = batches(3)
    assert (conditioning.shape, conditioning.dtype) == ((64, 32, 2), np.float32)
    assert set(latents[:, 0, 0]) == {0.0, 1.0}
    np.testing.assert_array_equal(conditioning[..., 0], latents[..., 1] + 500.0 * latents[..., 0])
    # One value a piece: the mean of it.
    np.testing.assert_array_equal(conditioning[..., 1], 120.5 + 20.0 * latents[..., 0])


def test_conditioning_does_not_change_the_latents(labelled_shards):
    conditional = LatentBatches(labelled_shards, 4, 32, 7, ConditioningConfig((POSITION,)))
    unconditional = LatentBatches(labelled_shards, 4, 32, 7)
    assert len(unconditional(5)) == 1
    np.testing.assert_array_equal(conditional(5)[0], unconditional(5)[0])


def test_conditional_specs_tell_the_arrays(labelled_shards):
    batches = LatentBatches(labelled_shards, 3, 7, 0, ConditioningConfig((TEMPO, POSITION)))
    assert [(a.shape, a.dtype) for a in batches(0)] == [tuple(s) for s in batches.array_specs]
    assert [spec.shape for spec in batches.array_specs] == [(3, 7, 2), (3, 7, 2)]
    dataset = pipeline.dataset(batches, first_step=2)
    for ours, expected in zip(next(iter(dataset)), batches(2), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_labels_out_of_range_are_limited_and_counted(labelled_shards):
    narrow = Signal("position", "latents", 10.0, 600.0, "step")
    signals = LatentSignals(labelled_shards, ConditioningConfig((TEMPO, narrow)))
    # 0 to 9 of the first source, 601 to 699 of the second.
    assert signals.n_limited == {"tempo_bpm": 0, "position": 10 + 99}
    first, second = labelled_shards.sources
    conditioning = signals.crops([(first, 5), (second, 95)], 10)
    np.testing.assert_array_equal(conditioning[0, :, 1], [10] * 6 + [11, 12, 13, 14])
    np.testing.assert_array_equal(conditioning[1, :, 1], [595, 596, 597, 598, 599] + [600] * 5)


def test_context_is_held_beyond_the_ends_and_beats_go_on(tmp_path):
    curve = {"kind": "curve"}
    shards = write_labelled(
        tmp_path / "s", {"position": curve, "beats": curve},
        position=lambda number, row: row, beats=lambda number, row: 1000.0 + row / 4.0,
    )  # fmt: skip
    first, _ = shards.sources
    signals = LatentSignals(shards, ConditioningConfig((POSITION, KNOWN_SIGNALS["beats"])))
    crops = signals.crops([(first, 2), (first, 280)], 18, context=6)
    assert (crops.shape, crops.dtype) == ((2, 30, 2), np.float32)
    rows = np.array([np.arange(-4, 26), np.arange(274, 304)])
    np.testing.assert_array_equal(crops[..., 0], np.clip(rows, 0, 299))
    np.testing.assert_allclose(crops[..., 1], np.mod(rows / 4.0, 4.0))
    batches = LatentBatches(shards, 5, 32, 0, ConditioningConfig((POSITION,)), context=6)
    latents, conditioning = batches(0)
    assert [spec.shape for spec in batches.array_specs] == [(5, 32, 2), (5, 44, 1)]
    np.testing.assert_array_equal(conditioning[:, 6:-6, 0], latents[..., 1])


def test_sources_without_a_value_are_not_drawn(tmp_path):
    curve, signals = {"kind": "curve"}, (POSITION, KNOWN_SIGNALS["beats"])
    shards = write_labelled(
        tmp_path / "s", {"position": curve, "beats": curve},
        position=lambda number, row: row, beats=lambda number, row: row / [np.nan, 4.0][number],
    )  # fmt: skip
    batches = LatentBatches(shards, 64, 32, 0, ConditioningConfig(signals))
    assert batches.signals.unknown == ("source 0",)
    assert batches.signals.n_latents == 200
    latents, conditioning = batches(0)
    assert set(latents[..., 0].flat) == {1.0}
    np.testing.assert_allclose(conditioning[..., 1], np.mod(latents[..., 1] / 4.0, 4.0))
    assert [source.name for source in batches.shards.split("train")] == ["source 1"]
    # Without the clock all are learnt; and where none has one, that is said.
    assert LatentBatches(shards, 2, 32, 0, ConditioningConfig((POSITION,))).signals.unknown == ()
    nowhere = write_labelled(tmp_path / "t", {"beats": curve}, beats=lambda number, row: np.nan)
    with pytest.raises(ValueError, match="none of the 2 train sources, such as 'source 0', has a"):
        LatentBatches(nowhere, 2, 32, 0, ConditioningConfig(signals[1:]))


def test_a_missing_label_is_named(labelled_shards, latent_shards):
    conditioning = ConditioningConfig((KNOWN_SIGNALS["note_density"],))
    with pytest.raises(ValueError, match="no label note_density, only unused, tempo_bpm, position"):
        LatentBatches(labelled_shards, 2, 10, 0, conditioning)
    with pytest.raises(ValueError, match="only none: label the audio .* musika-encode"):
        LatentBatches(latent_shards, 2, 10, 0, conditioning)


def test_density_on_another_scale_is_named(tmp_path):
    events = {"kind": "events", "max_onsets_per_second": 20.0}
    shards = write_labelled(
        tmp_path / "s", {"note_density": events}, note_density=lambda number, row: 0.5
    )
    signals = (KNOWN_SIGNALS["note_density"],)
    LatentBatches(shards, 2, 10, 0, ConditioningConfig(signals, max_onsets_per_second=20.0))
    with pytest.raises(ValueError, match=r"is 1 at 20 onsets .*musika-encode --max_onsets_.*=30`"):
        LatentBatches(shards, 2, 10, 0, ConditioningConfig(signals, max_onsets_per_second=30.0))
