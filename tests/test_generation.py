"""Generation: exact lengths, the same bytes from the same seed, pieces that only grow."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib

import numpy as np
import processes
import pytest
import soundfile

from musika_tf import generation
from musika_tf.generation import Request

RATE_HZ = 22_050


def write(player, path, **request):
    return list(generation.generate(player, Request(**request), path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "folder/a.WAV"])
@pytest.mark.parametrize("seconds", [1.0, 13.7])
def test_length_is_exact(player, tmp_path, name, seconds):
    (report,) = write(player, tmp_path / name, seconds=seconds)
    samples, rate_hz = soundfile.read(tmp_path / name)
    assert rate_hz == RATE_HZ
    assert samples.shape == (round(seconds * RATE_HZ), 2)
    assert soundfile.info(tmp_path / name).subtype == "PCM_16"
    assert report.is_complete
    assert report.duration_seconds == pytest.approx(seconds, abs=1 / RATE_HZ)
    assert report.peak == pytest.approx(np.abs(samples).max(), abs=1e-4)
    assert report.rms == pytest.approx(np.sqrt(np.mean(samples**2)), abs=1e-4)


def test_a_piece_can_be_begun_anywhere(player, tmp_path):
    write(player, tmp_path / "long.wav", seconds=6.0, seed=4)
    write(player, tmp_path / "end.wav", seconds=2.0, seed=4, start_seconds=4.0)
    long, end = (soundfile.read(tmp_path / name)[0] for name in ("long.wav", "end.wav"))
    # What is rounded to 16 bits differs by one step at most.
    np.testing.assert_allclose(end, long[4 * RATE_HZ :], rtol=0, atol=2.0**-15)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90.5", 90.5),
        ("1:30", 90),
        ("100:00", 6000),
        ("1:00:00", 3600),
        ("1:2:3.5", 3723.5),
    ],
)
def test_time_in_words(text, seconds):
    assert generation.parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "-1", "1:60", "1:60:00", "1:00:00:00", "an hour", "1e3", "nan"]
)
def test_no_time(text):
    with pytest.raises(ValueError, match=f"start={text} must be seconds, like 90.5, or a time"):
        generation.parse_time(text)


def test_samples_and_seeds_differ_and_do_not_depend_on_how_many(player, tmp_path):
    reports = write(player, tmp_path / "a.wav", seconds=1.0, seed=4, n_pieces=2)
    assert [report.path.name for report in reports] == ["a-0.wav", "a-1.wav"]
    write(player, tmp_path / "one.wav", seconds=1.0, seed=4)
    write(player, tmp_path / "other.wav", seconds=1.0, seed=5)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert contents["a-0.wav"] == contents["one.wav"]
    assert len(set(contents.values())) == 3


def test_interruption_leaves_a_valid_file(player, tmp_path, monkeypatch):
    def interrupted(*arguments):
        yield from itertools.islice(stream(*arguments), 2)
        raise KeyboardInterrupt

    stream = player.stream
    monkeypatch.setattr(player, "stream", interrupted)
    (report,) = write(player, tmp_path / "a.flac", seconds=60.0, n_pieces=2)
    assert not report.is_complete
    assert "(stopped)" in str(report)
    assert [path.name for path in tmp_path.iterdir()] == ["a-0.flac"]
    # One excerpt, then two.
    n_samples = 3 * player.config.audio.excerpt_n_samples
    assert len(soundfile.read(tmp_path / "a-0.flac")[0]) == n_samples


def test_interruption_before_the_first_sample_leaves_nothing(player, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(player, "stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(player, tmp_path / "a.wav", seconds=60.0)
    assert not list(tmp_path.iterdir())


def test_picture(player, tmp_path):
    request = Request(seconds=1.0)
    list(generation.generate(player, request, tmp_path / "a.wav", with_picture=True))
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
        ({"seconds": float("inf")}, "seconds=inf must be above 0 and at most 4e"),
        ({"seconds": 1e300}, "seconds=1e"),
        ({"start_seconds": -1.0}, "start_seconds=-1.0 must be from 0 to 4e"),
        ({"truncation": 0.0}, "truncation=0.0 must be above 0"),
        ({"truncation": float("nan")}, "truncation=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**31}, "seed=2147483648"),
        ({"n_pieces": 0}, "n_pieces=0"),
    ],
)
def test_bad_request(values, message):
    with pytest.raises(ValueError, match=message):
        Request(**values)


def test_unknown_suffix(player, tmp_path):
    with pytest.raises(ValueError, match=r"the suffix must be \.wav or \.flac"):
        write(player, tmp_path / "a.mp3")


# The program


@pytest.mark.slow
def test_program_gives_the_same_bytes_as_another_process(player, tiny_model, tmp_path):
    out = tmp_path / "program.wav"
    words = (f"--model_dir={tiny_model.parent}", "--seconds=6.5", "--seed=11", "--truncation=1.5")
    words += ("--start=1:00:00",)
    done = processes.run_plain("generate", *words, f"--out={out}")
    assert done.stdout.startswith(f"{out}: 6.50 s, ")
    same = {"seconds": 6.5, "seed": 11, "truncation": 1.5, "start_seconds": 3600.0}
    write(player, tmp_path / "here.wav", **same)
    assert out.read_bytes() == (tmp_path / "here.wav").read_bytes()


@pytest.mark.slow
def test_program_ends_with_one_line_on_a_mistake(tmp_path):
    words = (f"--model_dir={tmp_path}", "--seconds=0", f"--out={tmp_path}/a.wav")
    done = processes.run("generate", *words, ok=False)
    assert done.stderr.splitlines()[-1] == (
        "error: seconds=0.0 must be above 0 and at most 4e+06, like 60; what never ends is played "
        "by musika-play or Player.stream"
    )
