"""Generation: exact lengths, the same bytes from the same seed, pieces that only grow."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from musika_tf import generation
from musika_tf.generation import Request
from musika_tf.networks import coordinates

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATE_HZ = 22_050


@pytest.fixture(scope="module")
def model_dir(tiny_model) -> pathlib.Path:
    return tiny_model.parent


@pytest.fixture(scope="module")
def model(model_dir) -> generation.Model:
    return generation.Model(model_dir)


def write(model, path, **request):
    return list(generation.generate(model, Request(**request), path))


# Draws


def draw_anchors(seeds, start, n_anchors, truncation=2.0):
    truncation = tf.fill([len(seeds)], truncation)
    return coordinates.draw_anchors(tf.constant(seeds), start, n_anchors, 64, truncation).numpy()


def test_anchor_depends_on_seed_and_index_only():
    many = draw_anchors([[1, 0], [1, 1], [2, 0]], 0, 5)
    assert many.shape == (3, 5, 64)
    np.testing.assert_array_equal(draw_anchors([[1, 1]], 3, 1)[0, 0], many[1, 3])
    np.testing.assert_array_equal(draw_anchors([[2, 0], [1, 0]], 1, 2), many[[2, 0], 1:3])


def test_draws_differ_and_are_cut_normal_draws():
    anchors = draw_anchors([[seed, index] for seed in range(4) for index in range(4)], 0, 16)
    assert len(np.unique(anchors.reshape(-1, 64), axis=0)) == 16 * 16
    assert np.abs(anchors).max() <= 2.0
    # A normal cut at ±2 has variance 1 - 4·φ(2) / (2·Φ(2) - 1) = 0.7737.
    assert anchors.mean() == pytest.approx(0.0, abs=0.02)
    assert anchors.var() == pytest.approx(0.7737, abs=0.02)
    assert np.abs(np.corrcoef(anchors[0])[np.triu_indices(16, 1)]).max() < 0.6


def test_style_is_none_of_the_anchors():
    seed, truncation = tf.constant([[5, 0]]), tf.constant([2.0])
    style = coordinates.draw_style(seed, 64, truncation).numpy()[0]
    anchors = draw_anchors([[5, 0]], 0, 50)[0]
    assert np.abs(np.abs(anchors - style).max(axis=1)).min() > 0.5


# Streams


def test_stream_is_the_waveform_of_one_call(model):
    n_samples = 4 * model.config.patch_n_samples
    chunks = list(model.stream((7, 0), 2.0, n_samples=n_samples))
    seed, truncation = tf.constant([[7, 0]]), tf.constant([2.0])
    gan = model.config.gan
    waveform = model._loaded.signatures["serving_default"](
        anchors=coordinates.draw_anchors(seed, 0, 3, gan.anchor_depth, truncation),
        style=coordinates.draw_style(seed, gan.style_depth, truncation),
    )["waveform"]
    np.testing.assert_allclose(np.concatenate(chunks), waveform[0], rtol=0, atol=1e-5)


def test_stream_begins_with_one_excerpt_and_then_doubles(model):
    lengths = [len(chunk) for chunk in itertools.islice(model.stream((7, 0), 2.0), 5)]
    excerpt, between_anchors = model.config.audio.excerpt_n_samples, model.config.anchor_hop_size
    assert lengths[:3] == [excerpt, 2 * excerpt, between_anchors - 3 * excerpt]
    assert lengths[3:] == [between_anchors, between_anchors]


@pytest.mark.parametrize("n_samples", [1, 16_384, 16_385, 100_000])
def test_stream_ends_where_it_shall(model, n_samples):
    whole = np.concatenate(list(model.stream((7, 0), 2.0, n_samples=200_000)))
    piece = np.concatenate(list(model.stream((7, 0), 2.0, n_samples=n_samples)))
    np.testing.assert_array_equal(piece, whole[:n_samples])


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "folder/a.WAV"])
@pytest.mark.parametrize("seconds", [1.0, 13.7])
def test_length_is_exact(model, tmp_path, name, seconds):
    (report,) = write(model, tmp_path / name, seconds=seconds)
    samples, rate_hz = soundfile.read(tmp_path / name)
    assert rate_hz == RATE_HZ
    assert samples.shape == (round(seconds * RATE_HZ), 2)
    assert soundfile.info(tmp_path / name).subtype == "PCM_16"
    assert report.is_complete
    assert report.duration_seconds == pytest.approx(seconds, abs=1 / RATE_HZ)
    assert report.peak == pytest.approx(np.abs(samples).max(), abs=1e-4)
    assert report.rms == pytest.approx(np.sqrt(np.mean(samples**2)), abs=1e-4)


def test_longer_piece_begins_with_the_shorter(model, tmp_path):
    write(model, tmp_path / "short.wav", seconds=2.0, seed=4)
    write(model, tmp_path / "long.wav", seconds=4.0, seed=4)
    short, long = (soundfile.read(tmp_path / name)[0] for name in ("short.wav", "long.wav"))
    np.testing.assert_array_equal(short, long[: len(short)])


def test_samples_and_seeds_differ_and_do_not_depend_on_how_many(model, tmp_path):
    reports = write(model, tmp_path / "a.wav", seconds=1.0, seed=4, n_samples=2)
    assert [report.path.name for report in reports] == ["a-0.wav", "a-1.wav"]
    write(model, tmp_path / "one.wav", seconds=1.0, seed=4)
    write(model, tmp_path / "other.wav", seconds=1.0, seed=5)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert contents["a-0.wav"] == contents["one.wav"]
    assert len(set(contents.values())) == 3


def test_interruption_leaves_a_valid_file(model, tmp_path, monkeypatch):
    def interrupted(*arguments):
        yield from itertools.islice(stream(*arguments), 2)
        raise KeyboardInterrupt

    stream = model.stream
    monkeypatch.setattr(model, "stream", interrupted)
    (report,) = write(model, tmp_path / "a.flac", seconds=60.0, n_samples=2)
    assert not report.is_complete
    assert "(stopped)" in str(report)
    assert [path.name for path in tmp_path.iterdir()] == ["a-0.flac"]
    # One excerpt, then two.
    n_samples = 3 * model.config.audio.excerpt_n_samples
    assert len(soundfile.read(tmp_path / "a-0.flac")[0]) == n_samples


def test_interruption_before_the_first_sample_leaves_nothing(model, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(model, "stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(model, tmp_path / "a.wav", seconds=60.0)
    assert not list(tmp_path.iterdir())


def test_picture(model, tmp_path):
    request = Request(seconds=1.0)
    list(generation.generate(model, request, tmp_path / "a.wav", with_picture=True))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_report_in_words():
    report = generation.Report(pathlib.Path("a.wav"), 12.0, 0.5, 0.5, 0.1, is_complete=True)
    assert str(report) == "a.wav: 12.00 s, 24.0 × real time, peak 0.500, RMS -20.0 dBFS"
    assert "RMS -inf dBFS" in str(dataclasses.replace(report, rms=0.0))


# Bad requests


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seconds": 0.0}, "seconds=0.0 must be above 0"),
        ({"seconds": -1.0}, "seconds=-1.0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"seconds": float("inf")}, "seconds=inf"),
        ({"truncation": 0.0}, "truncation=0.0 must be above 0"),
        ({"truncation": float("nan")}, "truncation=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**31}, "seed=2147483648"),
        ({"n_samples": 0}, "n_samples=0"),
    ],
)
def test_bad_request(values, message):
    with pytest.raises(ValueError, match=message):
        Request(**values)


def test_unknown_suffix(model, tmp_path):
    with pytest.raises(ValueError, match=r"the suffix must be \.wav or \.flac"):
        write(model, tmp_path / "a.mp3")


# Finding the model


def test_newest_version_is_found(tmp_path):
    for name in ("9", "10", "11", "notes"):
        (tmp_path / name).mkdir()
    for name in ("9", "10"):
        (tmp_path / name / "saved_model.pb").touch()
    assert generation.find_version(tmp_path).name == "10"
    assert generation.find_version(tmp_path / "9").name == "9"


@pytest.mark.parametrize("name", ["", "missing"])
def test_folder_without_a_model(tmp_path, name):
    with pytest.raises(ValueError, match="musika-export"):
        generation.Model(tmp_path / name)


def test_model_without_or_with_foreign_metadata(model_dir, tmp_path):
    version = shutil.copytree(model_dir / "1", tmp_path / "1")
    path = version / "metadata.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 99', 1))
    with pytest.raises(ValueError, match="format 99"):
        generation.Model(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"no metadata\.json"):
        generation.Model(tmp_path)


# The program


def run_program(*words):
    command = [sys.executable, "-m", "musika_tf.programs.generate", *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)


def test_program_gives_the_same_bytes_as_another_process(model, model_dir, tmp_path):
    out = tmp_path / "program.wav"
    done = run_program(
        f"--model_dir={model_dir}", "--seconds=6.5", "--seed=11", f"--out={out}", "--truncation=1.5"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out}: 6.50 s, ")
    write(model, tmp_path / "here.wav", seconds=6.5, seed=11, truncation=1.5)
    assert out.read_bytes() == (tmp_path / "here.wav").read_bytes()


def test_program_ends_with_one_line_on_a_mistake(tmp_path):
    done = run_program(f"--model_dir={tmp_path}", "--seconds=0", f"--out={tmp_path}/a.wav")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: seconds=0.0 must be above 0, like 60"
