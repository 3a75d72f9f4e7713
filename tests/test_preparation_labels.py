"""Labels beside the shards: what annotators find, and labels of one's own."""

import dataclasses
import pathlib
import re
import time
from typing import ClassVar

import numpy as np
import processes
import pytest
import soundfile

from musika_tf.conditioning.labels import Labels
from musika_tf.config import AudioConfig
from musika_tf.data import preparation
from musika_tf.data.shards import Shards
from musika_tf.data.workers import LocalWorkers

CONFIG = AudioConfig()
PIANO = pathlib.Path(__file__).parent / "data" / "piano"


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Tells the time of the greatest sample and its value, or fails at the n-th file.

    It works in another process, and counts the files in a file.
    """

    signal_name: ClassVar[str] = "peak"
    columns: ClassVar[tuple[str, ...]] = ("time_seconds", "value")
    version: ClassVar[int] = 1
    count_path: pathlib.Path
    method: str = "maximum"
    stop_at: int = 99

    @property
    def n_asked(self):
        return self.count_path.stat().st_size if self.count_path.exists() else 0

    def rows(self, waveform, sample_rate_hz):
        if self.n_asked == self.stop_at:
            raise ValueError("stopped")
        with open(self.count_path, "a") as file:
            file.write(".")
        return np.array([[waveform.argmax() / sample_rate_hz, waveform.max()]])

    def findings(self, tables, seconds):
        return [f"{', '.join(tables)} in {seconds:.2f} s"]


@pytest.fixture
def few(tmp_path):
    """Three files with one click each, a second in, and one that is too short."""
    for index in range(3):
        samples = np.zeros((2 * 22_050, 2))
        samples[22_050] = 0.25 * (index + 1)
        (tmp_path / "few").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "few" / f"{index}.wav", samples, 22_050)
    soundfile.write(tmp_path / "few" / "short.wav", np.sin(np.arange(11_025)), 22_050)
    return tmp_path / "few"


@pytest.fixture
def peaks(tmp_path):
    return Peaks(tmp_path / "count")


@pytest.mark.parametrize("n_workers", [1, 2])
def test_used_files_are_annotated(peaks, few, tmp_path, n_workers):
    report = preparation.prepare(
        few, tmp_path / "data", CONFIG, workers=LocalWorkers(n_workers), annotators=[peaks]
    )
    labels = Labels.read("peak", tmp_path / "data" / "labels-peak.csv")
    assert labels.files == ["0.wav", "1.wav", "2.wav"]
    for index, file in enumerate(labels.files):
        np.testing.assert_allclose(labels.of(file), [[1.0, 0.25 * (index + 1)]], atol=1e-4)
    assert "peak: 3 files by maximum" in report.to_text()
    assert "0.wav, 1.wav, 2.wav in 6.00 s" in report.to_text()
    assert len(list((tmp_path / "data.annotations").iterdir())) == 3


def test_an_interrupted_annotation_goes_on(peaks, few, tmp_path):
    stopping = dataclasses.replace(peaks, stop_at=2)
    with pytest.raises(ValueError, match="stopped"):
        preparation.prepare(few, tmp_path / "data", CONFIG, annotators=[stopping])
    assert not (tmp_path / "data").exists()
    assert peaks.n_asked == 2
    report = preparation.prepare(few, tmp_path / "data", CONFIG, annotators=[peaks])
    assert peaks.n_asked == 3
    assert "2 remembered from an earlier run" in report.to_text()


def test_a_changed_file_is_annotated_again(peaks, few, tmp_path):
    preparation.prepare(few, tmp_path / "data", CONFIG, annotators=[peaks])
    samples, _ = soundfile.read(few / "1.wav")
    soundfile.write(few / "1.wav", samples[22_000:].repeat(2, axis=0), 22_050)
    (few / "2.wav").rename(few / "another name.wav")
    preparation.prepare(few, tmp_path / "data", CONFIG, overwrite=True, annotators=[peaks])
    assert peaks.n_asked == 4
    labels = Labels.read("peak", tmp_path / "data" / "labels-peak.csv")
    np.testing.assert_allclose(labels.of("1.wav"), [[100 / 22_050, 0.5]], atol=1e-4)
    np.testing.assert_allclose(labels.of("another name.wav"), [[1.0, 0.75]], atol=1e-4)


def test_given_labels_go_round(peaks, few, tmp_path):
    preparation.prepare(few, tmp_path / "one", CONFIG, annotators=[peaks])
    given = Labels.read("peak", tmp_path / "one" / "labels-peak.csv")
    report = preparation.prepare(few, tmp_path / "two", CONFIG, labels={"peak": given})
    texts = [(tmp_path / name / "labels-peak.csv").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]
    assert "peak: labels of 3 of 3 sources, given" in report.to_text()
    Shards.open(tmp_path / "two")


def test_labels_of_files_that_are_not_used_are_left_out(few, tmp_path):
    tables = dict.fromkeys(("0.wav", "1.wav", "2.wav", "short.wav", "gone.wav"), [[0, 7]])
    given = Labels("energy", ("time_seconds", "value"), tables, "given")
    preparation.prepare(few, tmp_path / "data", CONFIG, labels={"seven": given})
    text = (tmp_path / "data" / "labels-seven.csv").read_text()
    assert text == "file,time_seconds,value\n" + "".join(f"{i}.wav,0.0,7.0\n" for i in range(3))


def test_labels_that_do_not_fit(peaks, few, tmp_path):
    data_dir, columns = tmp_path / "data", ("time_seconds", "value")
    other = Labels("energy", columns, {"few/0.wav": [[0, 1]]}, "mine.csv")
    with pytest.raises(ValueError, match="mine.csv has no row for 4 of 4 .* such as 'few/0.wav'"):
        preparation.prepare(few, data_dir, CONFIG, labels={"a": other}, annotators=[peaks])
    assert not peaks.n_asked  # It is said at once.
    some = Labels("energy", columns, {"0.wav": [[0, 1]], "2.wav": [[0, 1]]}, "mine.csv")
    with pytest.raises(ValueError, match="no row for 1 of 3 files, such as '1.wav'"):
        preparation.prepare(few, data_dir, CONFIG, labels={"a": some})
    with pytest.raises(ValueError, match="labels of peak are given and shall be annotated too"):
        preparation.prepare(few, data_dir, CONFIG, labels={"peak": some}, annotators=[peaks])
    assert not data_dir.exists()


def test_a_single_file_is_cut_with_its_labels(peaks, tmp_path):
    samples = np.zeros((30 * 22_050, 2))
    samples[25 * 22_050] = 0.5
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "only.wav", samples, 22_050)
    events = Labels("energy", ("time_seconds",), {"only.wav": [[1], [20], [29]]}, "given")
    report = preparation.prepare(
        tmp_path / "audio", tmp_path / "data", CONFIG, annotators=[peaks],
        labels={"claps": events},
    )  # fmt: skip
    cut = report.files[0].train_seconds
    assert 20 < cut < 25
    claps = Labels.read("claps", tmp_path / "data" / "labels-claps.csv")
    np.testing.assert_allclose(claps.of("only.wav"), [1, 20])
    np.testing.assert_allclose(claps.of("only.wav (end)"), [29 - cut])
    peaks = Labels.read("peak", tmp_path / "data" / "labels-peak.csv")
    np.testing.assert_allclose(peaks.of("only.wav (end)")[-1], [25 - cut, 0.5], atol=1e-4)
    assert "2 of 2 sources" in report.to_text()


@pytest.mark.large
def test_the_program_annotates_piano(tmp_path):
    (tmp_path / "own.csv").write_text(
        "file,time_seconds,value\n" + "".join(f"{path.name},0,1\n" for path in PIANO.glob("*.ogg"))
    )
    arguments = [
        f"--audio_dir={PIANO}", f"--data_dir={tmp_path / 'data'}", "--annotate=note_density,tempo",
        "--onset_detector=librosa", f"--labels=mine={tmp_path / 'own.csv'}", "--n_workers=1",
    ]  # fmt: skip
    result = processes.run("prepare", *arguments)
    assert "note_density: 4 files by librosa" in result.stdout
    assert "tempo_bpm: 4 files by tempocnn" in result.stdout
    sources = {s.name: s for s in Shards.open(tmp_path / "data").sources}
    names = ("note_density", "tempo_bpm", "mine")
    density, tempo_bpm, mine = (
        Labels.read(name, tmp_path / "data" / f"labels-{name}.csv") for name in names
    )
    for file, source in sources.items():
        onsets = density.of(file)
        assert 1 < len(onsets) / source.n_rows * 22_050 < 4
        assert onsets.max() < source.n_rows / 22_050
        ((time_seconds, bpm),) = tempo_bpm.of(file)
        assert time_seconds == 0 and 30 <= bpm <= 285
        np.testing.assert_array_equal(mine.of(file), [[0, 1]])


@pytest.mark.slow
def test_a_killed_program_goes_on(tmp_path):
    words = ("--annotate=note_density", "--onset_detector=librosa", "--n_workers=1")
    words += (f"--audio_dir={PIANO}", f"--data_dir={tmp_path / 'data'}")
    memory = tmp_path / "data.annotations"
    process = processes.Process("musika_tf.programs.prepare", *words)
    while process.poll() is None and not list(memory.glob("*.json")):
        time.sleep(0.002)
    process.kill()
    n_done = len(list(memory.glob("*.json")))
    assert 1 <= n_done < 4
    result = processes.run("prepare", *words)
    n_remembered = int(re.search(r"(\d) remembered from an earlier run", result.stdout)[1])
    # The file that it was at when it was killed may have been finished.
    assert n_done <= n_remembered <= n_done + 1
    assert len(list(memory.glob("*.json"))) == 4
