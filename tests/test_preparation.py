"""Preparation: every file is used with the right values, or named with a reason."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import processes
import pytest
import soundfile

from musika_tf.config import AudioConfig
from musika_tf.data import preparation
from musika_tf.data.audio_folder import find_audio_files
from musika_tf.data.shards import Shards
from musika_tf.data.workers import LocalWorkers

CONFIG = AudioConfig()
REPOSITORY = pathlib.Path(__file__).parent.parent
PIANO = REPOSITORY / "tests" / "data" / "piano"


def _write_sine(path, sample_rate_hz, n_channels, seconds=2.0, frequency_hz=441.0, amplitude=0.5):
    """A sine on the left, one at twice the frequency on the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    phase = 2 * np.pi * frequency_hz * np.arange(int(seconds * sample_rate_hz)) / sample_rate_hz
    channels = [amplitude * np.sin((1 + channel) * phase) for channel in range(n_channels)]
    subtype = "FLOAT" if amplitude > 1 else None
    soundfile.write(path, np.stack(channels, axis=1), sample_rate_hz, subtype)


@pytest.fixture(scope="module")
def audio_dir(tmp_path_factory):
    """Ten files that can be used, in a nested tree, among much that cannot."""
    root = tmp_path_factory.mktemp("mixed") / "audio"
    for n_channels in (1, 2):
        _write_sine(root / f"a_{n_channels}.wav", 22_050, n_channels)
        _write_sine(root / "deep" / f"b_{n_channels}.flac", 44_100, n_channels)
        _write_sine(root / "deep" / "er" / f"c_{n_channels}.ogg", 48_000, n_channels)
        _write_sine(root / "deep" / f"d_{n_channels}.mp3", 32_000, n_channels)
    _write_sine(root / "E.AIFF", 96_000, 2)
    _write_sine(root / "loud.wav", 22_050, 2, amplitude=1.5)
    _write_sine(root / "short.wav", 22_050, 2, seconds=1.5)
    _write_sine(root / "quiet.flac", 22_050, 2, amplitude=0.0009)
    (root / "text.wav").write_text("this is no audio")
    (root / "nothing.mp3").write_bytes(b"")
    soundfile.write(root / "headers.wav", np.zeros((0, 2)), 22_050)
    (root / "deep" / "phone.m4a").write_bytes(b"\0\0\0 ftypM4A ")
    (root / "deep" / "notes.txt").write_text("not even called audio")
    return root


USED = {
    "a_1.wav", "a_2.wav", "deep/b_1.flac", "deep/b_2.flac", "deep/er/c_1.ogg", "deep/er/c_2.ogg",
    "deep/d_1.mp3", "deep/d_2.mp3", "E.AIFF", "loud.wav",
}  # fmt: skip
SKIPPED = {
    "short.wav", "quiet.flac", "text.wav", "nothing.mp3", "headers.wav", "deep/phone.m4a",
}  # fmt: skip


@pytest.mark.parametrize("n_workers", [1, 2])
def test_sources_hold_the_audio(audio_dir, tmp_path, n_workers):
    preparation.prepare(audio_dir, tmp_path / "data", CONFIG, workers=LocalWorkers(n_workers))
    shards = Shards.open(tmp_path / "data")
    assert (shards.n_channels, shards.dtype, shards.metadata["kind"]) == (2, np.int16, "waveform")
    assert AudioConfig(**shards.metadata["audio"]) == CONFIG
    assert {source.name for source in shards.sources} == USED
    seconds = np.arange(44_100) / 22_050
    for source in shards.sources:
        assert source.n_rows == pytest.approx(44_100, abs=2500)  # MP3 pads with silence.
        middle = shards.rows(source)[10_000:32_050].astype(float)
        peaks_hz = np.abs(np.fft.rfft(middle, axis=0)).argmax(axis=0)  # One bin a hertz.
        is_mono = "_1" in source.name
        np.testing.assert_array_equal(peaks_hz, [441, 441] if is_mono else [441, 882])
        if source.name in ("a_2.wav", "deep/b_2.flac", "E.AIFF"):
            # Exactly rounded; one bit is left for the resampler and the file's own 16 bits.
            expected = 16_384 * np.sin(2 * np.pi * 441 * seconds)[10_000:32_050]
            assert np.abs(middle[:, 0] - expected).max() < 1.6


def test_samples_are_rounded_not_truncated(tmp_path):
    (tmp_path / "audio").mkdir()
    samples = np.full((200_000, 2), 100.7 / 32_768, np.float32)
    samples[:, 1] *= -1
    samples[:100_000] *= -1
    soundfile.write(tmp_path / "audio" / "a.wav", samples, 22_050, "FLOAT")
    preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG)
    shards = Shards.open(tmp_path / "data")
    rows = np.unique(shards.rows(shards.sources[0]), axis=0)
    np.testing.assert_array_equal(rows, [[-101, 101], [101, -101]])


def test_the_split_follows_from_the_names(audio_dir, tmp_path):
    splits = []
    for name, n_workers in (("one", 1), ("two", 2)):
        preparation.prepare(
            audio_dir,
            tmp_path / name,
            CONFIG,
            validation_share=0.3,
            workers=LocalWorkers(n_workers),
        )
        splits.append(Shards.open(tmp_path / name).sources)
    assert splits[0] == splits[1]
    for source in splits[0]:
        assert (source.split == "validation") == (preparation.hash_position(source.name) < 0.3)


def _splits(folder, names, share, data_dir) -> dict[str, str]:
    """Split of each file when a folder of these files is prepared."""
    for name in names:
        if not (folder / name).exists():
            frequency_hz = 200 + 1000 * preparation.hash_position(name)
            _write_sine(folder / name, 22_050, 1, seconds=1.6, frequency_hz=frequency_hz)
    report = preparation.prepare(folder, data_dir, CONFIG, validation_share=share, overwrite=True)
    return {file.file: file.split for file in report.files}


def test_files_that_are_added_move_no_other(tmp_path):
    share, audio_dir = 0.3, tmp_path / "audio"
    names = sorted((f"{index}.wav" for index in range(20)), key=preparation.hash_position)
    n_held_out = sum(preparation.hash_position(name) < share for name in names)
    assert 1 < n_held_out < 19
    # One file of each side first, so that neither exception is needed; then the others, mixed.
    order = [names[0], names[-1], *names[1:-1:3], *names[2:-1:3], *names[3:-1:3]]
    before = {}
    for n_files in (2, 3, 7, 20):
        after = _splits(audio_dir, order[:n_files], share, tmp_path / "data")
        assert len(after) == n_files
        assert before.items() <= after.items()
        before = after
    held_out = {name for name, split in before.items() if split == "validation"}
    assert held_out == set(names[:n_held_out])


@pytest.mark.parametrize(("share", "below"), [(0.001, False), (0.5, True)])
@pytest.mark.parametrize("n_files", [2, 4])
def test_both_splits_have_files_whatever_their_hashes(tmp_path, share, below, n_files):
    candidates = (f"{index}.wav" for index in range(100))
    names = [n for n in candidates if (preparation.hash_position(n) < share) == below][:n_files]
    splits = _splits(tmp_path / "audio", names, share, tmp_path / "data")
    lowest, *_, highest = sorted(names, key=preparation.hash_position)
    # Where none lies below the share, the lowest is held out; where all do, the highest is not.
    expected = dict.fromkeys(names, "validation" if below else "train")
    assert splits == expected | {lowest: "validation", highest: "train"}


def test_skipped_files_are_no_exception_to_the_split(tmp_path):
    names = sorted((f"{index}.wav" for index in range(4)), key=preparation.hash_position)
    (tmp_path / "audio").mkdir()
    for name in (names[0], names[-1]):
        (tmp_path / "audio" / name).write_text("no audio")
    splits = _splits(tmp_path / "audio", names, 0.001, tmp_path / "data")
    assert [splits[name] for name in names] == ["", "validation", "train", ""]


def test_hash_positions_fill_the_range():
    positions = np.array([preparation.hash_position(f"{index}.wav") for index in range(2000)])
    counts, _ = np.histogram(positions, bins=10, range=(0, 1))
    assert counts.sum() == 2000
    assert np.abs(counts - 200).max() < 60


# 8 excerpts and the overlap are 5.98 s: held out of 30 s, but not of 17 s, which would leave less
# than twice that.
@pytest.mark.parametrize(
    ("seconds", "validation_seconds"),
    [(90, 9.0), (30, 131_840 / 22_050), (17, 1.7), (4, 33_536 / 22_050)],
)
def test_a_single_file_gives_its_end_for_validation(tmp_path, seconds, validation_seconds):
    _write_sine(tmp_path / "audio" / "only.wav", 22_050, 2, seconds=seconds)
    report = preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG)
    assert report.files[0].validation_seconds == pytest.approx(validation_seconds)
    shards = Shards.open(tmp_path / "data")
    assert [source.split for source in shards.sources] == ["train", "validation"]
    rows = np.concatenate([shards.rows(source) for source in shards.sources])
    stored, _ = soundfile.read(tmp_path / "audio" / "only.wav", dtype="int16")
    np.testing.assert_array_equal(rows, stored)


def test_of_few_files_the_ends_are_held_out_that_hold_an_example(tmp_path):
    for name, seconds in (("a", 80), ("b", 60), ("c", 4)):
        _write_sine(tmp_path / "audio" / f"{name}.wav", 22_050, 2, seconds=seconds)
    example = {"example_n_samples": 6 * 22_050}
    report = preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG, **example)
    found = {file.file: (file.train_seconds, file.validation_seconds) for file in report.files}
    assert found == {"a.wav": (72.0, 8.0), "b.wav": (54.0, 6.0), "c.wav": (4.0, 0.0)}
    # Half of three files is more than one.
    many = {"validation_share": 0.5, "overwrite": True} | example
    report = preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG, **many)
    assert {file.split for file in report.files} == {"train", "validation"}
    longer = {"example_n_samples": 9 * 22_050, "overwrite": True}
    report = preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG, **longer)
    assert sorted(file.split for file in report.files) == ["train", "train", "validation"]


def test_a_single_file_must_have_room_for_both(tmp_path):
    _write_sine(tmp_path / "audio" / "only.wav", 22_050, 2, seconds=2)
    with pytest.raises(ValueError, match="only.wav, is 2.00 s long; .* need 3.04 s"):
        preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG)
    assert not (tmp_path / "data").exists()


def test_the_report_is_saved_and_printed(audio_dir, tmp_path):
    report = preparation.prepare(audio_dir, tmp_path / "data", CONFIG)
    with open(tmp_path / "data" / "report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == sorted(USED | SKIPPED)
    assert {file.file for file in report.skipped} == SKIPPED
    assert [row["skipped_because"] for row in rows] == [f.skipped_because for f in report.files]
    text = report.to_text()
    for line in ("train              9     0.005", "validation         1     0.001"):
        assert line in text
    for line in (
        "skipped            6  3 unread",
        "too loud           1",
        "no audio           1  1 .txt",
    ):
        assert line in text
    assert all(f"skipped {name}: " in text for name in SKIPPED)


def test_folders_without_audio(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        preparation.prepare(tmp_path / "missing", tmp_path / "data", CONFIG)
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "song.mid").write_bytes(b"MThd")
    with pytest.raises(ValueError, match="no audio file .* among 1 files: looked for .wav"):
        preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG)
    (tmp_path / "audio" / "a.wav").write_text("no audio")
    (tmp_path / "audio" / "b.wav").write_text("no audio")
    with pytest.raises(ValueError, match="none of the 2 audio files .*: 2 unreadable"):
        preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("share", [0.0, 0.6, -1.0])
def test_bad_shares_are_refused(audio_dir, tmp_path, share):
    with pytest.raises(ValueError, match="above 0 and at most 0.5"):
        preparation.prepare(audio_dir, tmp_path / "data", CONFIG, validation_share=share)


def test_linked_folders_are_searched_once(audio_dir, tmp_path):
    (tmp_path / "linked").mkdir()
    os.symlink(audio_dir / "deep", tmp_path / "linked" / "there")
    os.symlink(tmp_path / "linked", tmp_path / "linked" / "itself")
    found = find_audio_files(tmp_path / "linked")
    assert len(found.files) == 7
    assert all(file.name.startswith("there/") for file in found.files)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_old_file_names_that_are_no_utf8(tmp_path):
    _write_sine(tmp_path / "audio" / "a.wav", 22_050, 1)
    name = os.fsdecode(b"caf\xe9.wav")  # Latin-1
    os.rename(tmp_path / "audio" / "a.wav", tmp_path / "audio" / name)
    (tmp_path / "audio" / os.fsdecode(b"na\xefve.wav")).write_text("no audio")
    _write_sine(tmp_path / "audio" / "b.wav", 22_050, 1, frequency_hz=300)
    report = preparation.prepare(tmp_path / "audio", tmp_path / "data", CONFIG)
    assert {source.name for source in Shards.open(tmp_path / "data").sources} == {name, "b.wav"}
    assert r"skipped na\udcefve.wav: unreadable" in report.to_text()
    assert r"caf\udce9.wav" in (tmp_path / "data" / "report.csv").read_text()


def test_an_interrupted_program_leaves_no_shards(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "musika_tf.programs.prepare", "--n_workers=2"]
        + [f"--audio_dir={PIANO}", "--sample_rate_hz=96000"]
        + [f"--data_dir={tmp_path / 'data'}"],
        cwd=REPOSITORY, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    process.stderr.read(10)  # The progress bar: it is reading.
    os.killpg(process.pid, signal.SIGINT)  # What Ctrl-C does.
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] in ([], ["data.decoded"])


def test_the_program_prepares_piano(tmp_path):
    places = (f"--audio_dir={PIANO}", f"--data_dir={tmp_path / 'data'}")
    words = ("--preset=piano", "--sample_rate_hz=11025")
    result = processes.run("prepare", *places, *words)
    assert "train              3     0.067" in result.stdout
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["metadata"]["audio"]["sample_rate_hz"] == 11_025
    assert sum(s["n_rows"] for s in manifest["sources"]) == pytest.approx(292.2 * 11_025, rel=1e-3)


WRONG_FLAGS = {
    "--annotate=key": "annotator 'key' must be one of note_density, tempo",
    "--labels=own.csv": "--labels=own.csv must be NAME=FILE.csv",
    "--labels=My-Label=own.csv": "'My-Label' must be small letters",
    "--labels=a=none.csv": "cannot read labels from none.csv",
}


@pytest.mark.parametrize("flag", WRONG_FLAGS)
def test_wrong_flags_end_the_program_with_one_line(tmp_path, flag):
    places = (f"--audio_dir={PIANO}", f"--data_dir={tmp_path / 'data'}")
    result = processes.run("prepare", *places, flag, ok=False)
    assert WRONG_FLAGS[flag] in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_home_folder_may_be_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _write_sine(tmp_path / "music" / "a.wav", 22_050, 1, seconds=4)
    (tmp_path / "my.flags").write_text("--data_dir=~/data\n")
    processes.run("prepare", "--audio_dir=~/music", f"--flagfile={tmp_path / 'my.flags'}")
    assert (tmp_path / "data" / "manifest.json").exists()


def test_the_program_rejects_stray_arguments(tmp_path):
    result = processes.run("prepare", "--audio_dir=a", "--data_dir=b", "stray", ok=False)
    assert "unexpected arguments: stray" in result.stderr + result.stdout
