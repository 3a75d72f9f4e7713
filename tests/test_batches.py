"""Batches: values against the shards' own rows, and the same batch for the same step always."""

import numpy as np
import pytest

from musika_tf.batches import LatentBatches, WaveformBatches
from musika_tf.shards import Shards, ShardWriter
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
