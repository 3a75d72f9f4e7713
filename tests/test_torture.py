"""Any folder of audio, however dirty: the right verdict for each file, no crash and no hang."""

import csv
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import soundfile
import torture
from comparing import contents

from musika_tf.conditioning.labels import as_stored
from musika_tf.config import AudioConfig
from musika_tf.data import preparation
from musika_tf.data.audio_folder import find_audio_files
from musika_tf.data.decoding import AudioFile, Decoder
from musika_tf.data.shards import Shards
from musika_tf.data.workers import LocalWorkers

CONFIG = AudioConfig()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The report on all kinds, and the shards."""
    folder = tmp_path_factory.mktemp("torture")
    torture.make(folder / "audio")
    report = preparation.prepare(folder / "audio", folder / "data", CONFIG, workers=LocalWorkers(2))
    return report, folder / "data"


def test_every_file_is_in_the_report(prepared):
    report, data_dir = prepared
    expected = sorted(kind.name for kind in torture.KINDS if kind.says != "absent")
    assert [file.file for file in report.files] == expected
    with open(data_dir / "report.csv", newline="", encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [as_stored(n) for n in expected]
    assert report.others == {".jpg": 1, ".wav": 1, "without suffix": 1}


@pytest.mark.parametrize("kind", torture.KINDS, ids=lambda kind: ascii(kind.name[:40]))
def test_verdict(prepared, kind):
    report, data_dir = prepared
    if kind.says == "absent":
        return
    (file,) = (file for file in report.files if file.file == kind.name)
    seconds = file.train_seconds + file.validation_seconds
    if kind.seconds is None:
        assert (file.split, seconds) == ("", 0)
        assert re.match(kind.says, file.skipped_because)
    else:
        assert file.skipped_because == ""
        assert re.match(kind.says, file.decoded.notes)
        assert seconds == pytest.approx(kind.seconds, abs=kind.within)
        rows = [s.n_rows for s in Shards.open(data_dir).sources if s.name == kind.name]
        assert rows == [round(seconds * CONFIG.sample_rate_hz)]


# Files that no decoder sees, or sees twice.


def _write(path, hz, seconds=2.0, rate_hz=22_050):
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * time), rate_hz)


@pytest.fixture
def pair(tmp_path) -> pathlib.Path:
    """A folder of two files that can be used."""
    (tmp_path / "audio").mkdir()
    for name, hz in (("a.wav", 300), ("b.wav", 400)):
        _write(tmp_path / "audio" / name, hz)
    return tmp_path / "audio"


def _spoil(path: pathlib.Path) -> None:
    """Takes all audio out of a file that looks unchanged: whoever decoded it would say so."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_rerun_decodes_nothing(pair, tmp_path):
    (pair / "text.mp3").write_text("no audio")
    preparation.prepare(pair, tmp_path / "data", CONFIG)
    before = contents(tmp_path / "data")
    for path in pair.iterdir():
        _spoil(path)
    report = preparation.prepare(pair, tmp_path / "data", CONFIG, overwrite=True)
    assert report.n_remembered == 3
    assert "remembered         3" in report.to_text()
    assert contents(tmp_path / "data") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audio", "data"]


def test_a_run_that_failed_goes_on(pair, tmp_path):
    (pair / "text.mp3").write_text("no audio")
    with pytest.raises(ValueError, match="strict: 1 of the 3 .* 1 unreadable .*text.mp3") as error:
        preparation.prepare(pair, tmp_path / "data", CONFIG, strict=True)
    path = tmp_path / "data.decoded" / "report.csv"
    assert f"{path} names all" in str(error.value) and "text.mp3" in path.read_text()
    assert not (tmp_path / "data").exists()
    for name in ("a.wav", "b.wav"):
        _spoil(pair / name)
    (pair / "text.mp3").unlink()
    report = preparation.prepare(pair, tmp_path / "data", CONFIG, strict=True)
    assert (len(report.used), report.n_remembered) == (2, 2)


@pytest.mark.parametrize("finished", [True, False])
def test_changed_files_are_decoded_again(pair, tmp_path, finished):
    if not finished:
        (pair / "text.mp3").write_text("no audio")
        with pytest.raises(ValueError, match="strict"):
            preparation.prepare(pair, tmp_path / "data", CONFIG, strict=True)
    else:
        preparation.prepare(pair, tmp_path / "data", CONFIG)
    status = (pair / "a.wav").stat()
    _write(pair / "a.wav", 500)
    os.utime(pair / "a.wav", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    report = preparation.prepare(pair, tmp_path / "data", CONFIG, overwrite=True)
    assert report.n_remembered == len(report.files) - 1
    shards = Shards.open(tmp_path / "data")
    for source, hz in zip(sorted(shards.sources, key=lambda s: s.name), (500, 400), strict=True):
        spectrum = np.abs(np.fft.rfft(shards.rows(source)[:22_050, 0]))
        assert spectrum.argmax() == hz


def test_changed_settings_are_noticed(pair, tmp_path):
    preparation.prepare(pair, tmp_path / "data", CONFIG)
    # What is only too short at one setting needs no decoding to be known, and one to be used.
    longer = AudioConfig(excerpt_n_frames=128)
    with pytest.raises(ValueError, match="2 too short"):
        preparation.prepare(pair, tmp_path / "data", longer, overwrite=True)
    slower = AudioConfig(sample_rate_hz=11_025, excerpt_n_frames=32)
    report = preparation.prepare(pair, tmp_path / "data", slower, overwrite=True)
    assert report.n_remembered == 0
    assert {source.n_rows for source in Shards.open(tmp_path / "data").sources} == {22_050}


def test_what_was_too_short_can_be_used_later(pair, tmp_path):
    _write(pair / "short.wav", 600, seconds=1)
    report = preparation.prepare(pair, tmp_path / "data", CONFIG)
    assert len(report.used) == 2
    shorter = AudioConfig(excerpt_n_frames=32)
    report = preparation.prepare(pair, tmp_path / "data", shorter, overwrite=True)
    assert (len(report.used), report.n_remembered) == (3, 2)


def test_a_stuck_decoder_is_stopped(pair, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pids\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for name in ("a.m4a", "b.m4a"):
        (pair / name).write_text("no audio that libsndfile reads")
    report = preparation.prepare(pair, tmp_path / "data", CONFIG, stuck_after_seconds=1)
    reasons = {file.file: file.skipped_because for file in report.skipped}
    expected = "unreadable: its decoder showed no headway for 1 s and was stopped"
    assert reasons == {"a.m4a": expected, "b.m4a": expected}
    assert len(report.used) == 2
    for pid in (tmp_path / "pids").read_text().split():
        assert not _runs(pid)


def _runs(pid: str) -> bool:
    try:
        return pathlib.Path("/proc", pid, "stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_without_ffmpeg_its_formats_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0 ftypM4A ")
    decoder = Decoder(22_050, str(tmp_path / "kept"))
    found = decoder(AudioFile("a.m4a", str(tmp_path / "a.m4a")))
    assert "M4A, AAC and WMA need ffmpeg, which is not on the PATH" in found.unusable_because


def test_what_may_not_be_read(tmp_path_factory):
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        (folder / "closed").mkdir()
        for path in (folder / "a.wav", folder / "b.wav", folder / "closed" / "c.wav"):
            _write(path, 300)
        folder.chmod(0o777)
        (folder / "b.wav").chmod(0)
        (folder / "closed").chmod(0)
        if os.geteuid() == 0:
            os.seteuid(65_534)
        found = find_audio_files(folder)
        verdicts = [Decoder(22_050, str(folder / "kept"))(file) for file in found.files]
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        shutil.rmtree(folder)
    assert [file.name for file in found.files] == ["a.wav", "b.wav"]
    assert [v.unusable_because for v in verdicts] == ["", "unreadable: read: Permission denied"]
    assert found.closed == {"closed": "Permission denied"}


_PREPARE = """
import re, resource, sys
from musika_tf.config import AudioConfig
from musika_tf.data import preparation
if __name__ == "__main__":
    preparation.prepare(sys.argv[1], sys.argv[2], AudioConfig())
    own = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
    print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory")
@pytest.mark.parametrize("hours", [pytest.param(0.5), pytest.param(3.0, marks=pytest.mark.large)])
def test_a_long_file_takes_little_memory(tmp_path, hours):
    (tmp_path / "audio").mkdir()
    block = np.random.default_rng(0).integers(-9999, 9999, (44_100 * 60, 2), np.int16)
    path = tmp_path / "audio" / "long.flac"
    with soundfile.SoundFile(path, "w", 44_100, 2, "PCM_16") as file:
        for _ in range(round(hours * 60)):
            file.write(block)
    (tmp_path / "prepare.py").write_text(_PREPARE)
    command = [sys.executable, tmp_path / "prepare.py", tmp_path / "audio", tmp_path / "data"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sources = Shards.open(tmp_path / "data").sources
    assert sum(source.n_rows for source in sources) == round(hours * 3600 * 22_050)
    # Kilobytes, of the program and of the process that decodes.
    kilobytes = [int(word) for word in done.stdout.split()]
    assert max(kilobytes) < 300_000
