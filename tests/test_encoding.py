"""Shards to latents and back; latent shards and what they are checked against."""

import dataclasses

import numpy as np
import pytest
from random_model import save_networks
from scipy import stats

from musika_tf import audio
from musika_tf.conditioning.note_density import MIN_BANDWIDTH_SECONDS
from musika_tf.data import datasets, encoding
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.shards import Shards
from musika_tf.runs.run import Run
from musika_tf.training_config import TrainingConfig


@pytest.fixture
def run_dir(tmp_path, autoencoder, tiny_config) -> str:
    """A run whose level 2 is done with phase 1, untrained."""
    run_dir = tmp_path / "run"
    Run(run_dir).begin("level1_phase1", tiny_config, TrainingConfig(), "")
    save_networks(run_dir, "level2_phase1", 3, autoencoder.networks)
    return str(run_dir)


def noise(n_samples, seed=0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n_samples, 2)) * 0.1).astype(np.float32)


def write_waveforms(folder, config, lengths, names=None, texts=None) -> None:
    metadata = datasets.waveform_metadata(config.audio)
    with ShardWriter(folder, 2, np.int16, metadata) as writer:
        for file_name, text in (texts or {}).items():
            writer.add_text(file_name, text)
        for index, n_samples in enumerate(lengths):
            rows = audio.to_int16(noise(n_samples, index))
            name = names[index] if names else f"folder/{index}.ogg"
            writer.add(name, rows, "validation" if index == 0 else "train")


def test_shards_to_latents_and_back_to_files(tmp_path, run_dir, tiny_config, codec):
    write_waveforms(tmp_path / "data", tiny_config, [30_000, 70_000])
    encoding.encode_shards(Run(run_dir), tmp_path / "data", tmp_path / "latents")
    shards = Shards.open(tmp_path / "latents")
    assert [(s.name, s.split) for s in shards.sources] == [
        ("folder/0.ogg", "validation"),
        ("folder/1.ogg", "train"),
    ]
    waveform = audio.to_int16(noise(70_000, 1)).astype(np.float32) / 32_768
    expected = codec.encode(waveform)
    np.testing.assert_allclose(shards.rows(shards.sources[1]), expected, atol=1e-3)
    encoding.decode_shards(Run(run_dir), tmp_path / "latents", tmp_path / "decoded")
    decoded = audio.read(tmp_path / "decoded" / "folder" / "1.ogg.wav")
    assert decoded.samples.shape == (70_000, 2)
    assert decoded.sample_rate_hz == tiny_config.audio.sample_rate_hz
    whole = codec.decode(expected, 70_000)
    np.testing.assert_allclose(decoded.samples, whole, atol=0.02 * np.abs(whole).max() + 1e-4)


def test_files_that_differ_only_after_the_stem_stay_apart(tmp_path, run_dir, tiny_config):
    names = ["a.mp3", "a.flac", "song.ogg", "song.ogg (end)"]
    lengths = [20_000, 21_000, 22_000, 23_000]
    write_waveforms(tmp_path / "data", tiny_config, lengths, names)
    encoding.encode_shards(Run(run_dir), tmp_path / "data", tmp_path / "latents")
    encoding.decode_shards(Run(run_dir), tmp_path / "latents", tmp_path / "decoded")
    assert {path.name for path in (tmp_path / "decoded").iterdir()} == {f"{n}.wav" for n in names}
    for name, n_samples in zip(names, lengths, strict=True):
        assert audio.read(tmp_path / "decoded" / f"{name}.wav").n_samples == n_samples


def test_latents_of_other_weights_are_refused(tmp_path, run_dir, tiny_config, codec):
    write_waveforms(tmp_path / "data", tiny_config, [30_000, 70_000])
    encoding.encode_shards(Run(run_dir), tmp_path / "data", tmp_path / "latents")
    own = Run(run_dir).encoder_fingerprint()
    datasets.open_latents(tmp_path / "latents", tiny_config, own)
    with pytest.raises(ValueError, match="other encoder weights"):
        datasets.open_latents(tmp_path / "latents", tiny_config, "0" * 64)
    sizes = dataclasses.replace(tiny_config.autoencoder, level2_encoder_widths=(8, 8))
    changed = dataclasses.replace(tiny_config, autoencoder=sizes)
    with pytest.raises(ValueError, match=r"level2_encoder_widths is \(8, 8\) in the run"):
        datasets.open_latents(tmp_path / "latents", changed, own)


def test_shards_of_another_kind_or_rate_are_refused(tmp_path, tiny_config):
    write_waveforms(tmp_path / "data", tiny_config, [30_000])
    with pytest.raises(ValueError, match="musika-encode makes them"):
        datasets.open_latents(tmp_path / "data", tiny_config, "")
    faster = dataclasses.replace(tiny_config.audio, sample_rate_hz=44_100)
    changed = dataclasses.replace(tiny_config, audio=faster)
    with pytest.raises(ValueError, match="sample_rate_hz is 44100 in the run and 22050"):
        datasets.open_waveforms(tmp_path / "data", changed)


@pytest.mark.parametrize(
    ("n_samples", "max_n_excerpts", "n_excerpts"),
    [
        (33_536, 8, 2),
        (4 * 16_384 + 767, 8, 2),
        (4 * 16_384 + 768, 8, 4),
        (200_000, 8, 8),
        (200_000, 5, 4),
    ],
)
def test_held_out_waveforms_are_as_long_as_the_material_allows(
    tmp_path, tiny_config, n_samples, max_n_excerpts, n_excerpts
):
    write_waveforms(tmp_path / "data", tiny_config, [n_samples, 300_000])
    shards = datasets.open_waveforms(tmp_path / "data", tiny_config)
    waveforms = datasets.held_out_waveforms(shards, tiny_config.audio, 3, max_n_excerpts)
    assert waveforms.shape == (3, n_excerpts * 16_384 + 768)
    # Of the validation file alone, its left channel.
    stored = shards.rows(shards.sources[0])[:, 0].astype(np.float32) / 32_768
    first = np.flatnonzero(stored == waveforms[0, 0])
    assert any(np.array_equal(stored[i : i + waveforms.shape[1]], waveforms[0]) for i in first)


def test_held_out_waveforms_take_a_pair_of_excerpts(tmp_path, tiny_config):
    write_waveforms(tmp_path / "data", tiny_config, [33_535, 300_000])
    shards = datasets.open_waveforms(tmp_path / "data", tiny_config)
    with pytest.raises(ValueError, match=r"pair of excerpts takes 1.52 s .* '.*0.ogg', lasts 1.52"):
        datasets.held_out_waveforms(shards, tiny_config.audio, 3)


# Labels

CURVE = """file,time_seconds,value
folder/0.ogg,0,0
folder/0.ogg,10,10
folder/1.ogg,0,128.5
"""
ONSETS = np.array([0.5, 0.7, 1.1, 1.8, 2.0, 2.9])
EVENTS = "file,time_seconds\n" + "".join(f"folder/1.ogg,{time}\n" for time in ONSETS)


def test_all_labels_go_with_the_latents(tmp_path, run_dir, tiny_config):
    texts = {"labels-clock.csv": CURVE, "labels-note_density.csv": EVENTS, "report.csv": "x\n"}
    write_waveforms(tmp_path / "data", tiny_config, [30_000, 70_000], texts=texts)
    encoding.encode_shards(
        Run(run_dir), tmp_path / "data", tmp_path / "latents", max_onsets_per_second=12.0
    )
    own = Run(run_dir).encoder_fingerprint()
    shards = datasets.open_latents(tmp_path / "latents", tiny_config, own)
    assert shards.label_names == ("clock", "note_density")
    assert shards.metadata["labels"] == {
        "clock": {"kind": "curve"},
        "note_density": {"kind": "events", "max_onsets_per_second": 12.0},
    }
    first, second = (shards.labels(source) for source in shards.sources)
    assert len(first) == shards.sources[0].n_rows
    # The label tells the time: the centres of what the latents see, from 768 zeros before the file
    # on, and never before its first point.
    centres = (np.arange(20) * 4096 + (4096 + 768) / 2 - 768) / 22_050
    np.testing.assert_allclose(first[:, 0], centres[: len(first)], rtol=1e-6)
    np.testing.assert_array_equal(second[:, 0], np.float32(128.5))
    # No onset: silence. Others: kernels of the least bandwidth, for the file is short.
    np.testing.assert_array_equal(first[:, 1], 0.0)
    kernels = stats.norm.pdf(centres[: len(second), None], ONSETS, MIN_BANDWIDTH_SECONDS)
    expected = np.log1p(kernels.sum(axis=1)) / np.log1p(12.0)
    np.testing.assert_allclose(second[:, 1], expected, atol=1e-5)
    assert 0.3 < expected.max() < 1.0


def test_density_is_encoded_on_the_scale_of_the_run(tmp_path, run_dir, tiny_config):
    texts = {"labels-note_density.csv": EVENTS}
    write_waveforms(tmp_path / "data", tiny_config, [30_000, 70_000], texts=texts)
    encoding.encode_shards(Run(run_dir), tmp_path / "data", tmp_path / "latents")
    scale = Shards.open(tmp_path / "latents").metadata["labels"]["note_density"]
    assert scale["max_onsets_per_second"] == tiny_config.conditioning.max_onsets_per_second


@pytest.mark.parametrize(
    ("file_name", "text", "message"),
    [
        ("labels-clock.csv", CURVE.replace("1.ogg", "2.ogg"), r"clock.csv has no row for 1 of 2"),
        ("labels-clock.csv", "file,time_seconds,value\na,0,x\n", r"labels-clock.csv, line 2"),
        ("labels-Clock.csv", CURVE, r"labels-Clock.csv: signal name 'Clock' must be small"),
    ],
)
def test_bad_labels_are_named_before_anything_is_encoded(
    tmp_path, run_dir, tiny_config, file_name, text, message
):
    write_waveforms(tmp_path / "data", tiny_config, [30_000, 70_000], texts={file_name: text})
    with pytest.raises(ValueError, match=message):
        encoding.encode_shards(Run(run_dir), tmp_path / "data", tmp_path / "latents")
    assert not (tmp_path / "latents").exists()
