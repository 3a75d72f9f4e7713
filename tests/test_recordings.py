"""Known data sets: files and splits as their own metadata tell, and mixtures by shares."""

import csv

import numpy as np
import processes
import pytest
import soundfile

from musika_tf.config import AudioConfig
from musika_tf.data import preparation, recordings
from musika_tf.data.shards import Shards

CONFIG = AudioConfig()


def _write(path, seconds=2.0) -> None:
    """A tone that no other file has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hz = 100 + sum(map(ord, str(path))) % 2000
    time = np.arange(round(seconds * 22_050)) / 22_050
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * time), 22_050)


MAESTRO = {
    "2004/MIDI-Unprocessed_SMF_02_R1_2004_MID--AUDIO_02_R1_2004_05_Track05_wav.wav": "train",
    "2006/MIDI-Unprocessed_01_R1_2006_MID--AUDIO_01_R1_2006_wav.wav": "validation",
    "2018/MIDI-Unprocessed_Chamber3_MID--AUDIO_10_R3_2018_wav--1.wav": "test",
    "2018/MIDI-Unprocessed_Chamber4_MID--AUDIO_11_R3_2018_wav--1.wav": "train",
}  # fmt: skip


def make_maestro(root) -> None:
    """The layout of maestro-v3.0.0: a CSV file whose titles hold commas, folders by year."""
    root.mkdir()
    with open(root / "maestro-v3.0.0.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["canonical_composer", "canonical_title", "split", "year", "midi_filename"]
            + ["audio_filename", "duration"]
        )
        for name, split in MAESTRO.items():
            _write(root / name)
            midi = name.replace(".wav", ".midi")
            (root / midi).write_bytes(b"MThd")
            title = 'Sonata in C Major, Op. 1, "Première"'
            writer.writerow(["Alban Berg", title, split, name[:4], midi, name, 2.0])
    (root / "LICENSE").write_text("CC BY-NC-SA 4.0")


LIBRITTS = {
    "train-clean-100/103/1240/103_1240_000000_000001.wav": "train",
    "train-other-500/20/205/20_205_000000_000000.wav": "train",
    "dev-clean/84/121123/84_121123_000007_000001.wav": "validation",
    "test-clean/61/70968/61_70968_000000_000001.wav": "test",
}


def make_libritts(root) -> None:
    """Folders subset/speaker/chapter, with texts beside the audio."""
    for name in LIBRITTS:
        _write(root / name)
        (root / name).with_suffix(".normalized.txt").write_text("Chapter one.")


JAMENDO = {
    "14/214.mp3": ("train", ["genre---punkrock"]),
    "18/1376218.mp3": ("train", ["genre---techno", "mood/theme---dark"]),
    "56/1376256.mp3": ("validation", ["genre---easylistening", "genre---techno"]),
    "57/1376257.mp3": ("test", ["genre---techno"]),
}


def make_jamendo(root, low: bool) -> None:
    """Folders 00 to 99, and the tables of the repository, whose rows have any number of tags."""
    tables = root / "data" / "splits" / "split-0"
    tables.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        with open(tables / f"autotagging-{split}.tsv", "w") as file:
            file.write("TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n")
            for name, (own_split, tags) in JAMENDO.items():
                if own_split == split:
                    words = ["track_1", "artist_2", "album_3", name, "2.0", *tags]
                    file.write("\t".join(words) + "\n")
    for name in JAMENDO:
        _write(root / (name.replace(".mp3", ".low.mp3") if low else name))


def _splits(found) -> dict[str, str]:
    return {file.name: file.split for file in found.files}


def _without_test(names) -> dict[str, str]:
    return {name: split for name, split in names.items() if split != "test"}


def test_maestro(tmp_path):
    make_maestro(tmp_path / "maestro")
    found = recordings.find("maestro", tmp_path / "maestro")
    assert _splits(found) == _without_test(MAESTRO)
    assert found.others == {"for testing": 1}
    # What the table names and the folder lacks is in the report.
    missing, *_ = MAESTRO
    (tmp_path / "maestro" / missing).unlink()
    report = preparation.prepare(found, tmp_path / "data", CONFIG)
    assert {file.file: file.split for file in report.used} == {
        name: split for name, split in _without_test(MAESTRO).items() if name != missing
    }
    assert [file.skipped_because for file in report.skipped] == [
        "unreadable: No such file or directory"
    ]


def test_libritts(tmp_path):
    make_libritts(tmp_path / "LibriTTS")
    found = recordings.find("libritts", tmp_path / "LibriTTS")
    assert _splits(found) == _without_test(LIBRITTS)
    assert found.others == {".txt": 4, "for testing": 1}
    report = preparation.prepare(found, tmp_path / "data", CONFIG)
    assert {file.file: file.split for file in report.used} == _without_test(LIBRITTS)


@pytest.mark.parametrize("low", [True, False])
def test_mtg_jamendo_by_tag(tmp_path, low):
    make_jamendo(tmp_path / "jamendo", low)
    form = ".low.mp3" if low else ".mp3"
    found = recordings.find("mtg_jamendo", tmp_path / "jamendo", ["genre---techno"])
    assert _splits(found) == {f"18/1376218{form}": "train", f"56/1376256{form}": "validation"}
    assert len(recordings.find("mtg_jamendo", tmp_path / "jamendo").files) == 3


def test_wrong_folders_and_tags(tmp_path):
    for kind, message in (
        ("maestro", "holds no maestro-v3.0.0.csv"),
        ("libritts", "no audio file"),
        ("mtg_jamendo", "autotagging-train.tsv is missing: put the folder `data`"),
        ("other", "must be one of folder, maestro, libritts, mtg_jamendo"),
    ):
        with pytest.raises(ValueError, match=message):
            recordings.find(kind, tmp_path)
    with pytest.raises(ValueError, match="is no folder: give the one to which maestro"):
        recordings.find("maestro", tmp_path / "none")
    make_jamendo(tmp_path / "jamendo", low=False)
    with pytest.raises(ValueError, match="'techno' is not in MTG-Jamendo, .* genre---techno"):
        recordings.find("mtg_jamendo", tmp_path / "jamendo", ["techno"])
    _write(tmp_path / "mine" / "a.wav")
    with pytest.raises(ValueError, match="holds a.wav, not only folders train-"):
        recordings.find("libritts", tmp_path / "mine")
    with pytest.raises(ValueError, match="folder has none"):
        recordings.find("folder", tmp_path / "mine", ["genre---techno"])


def test_a_mixture_is_drawn_by_its_shares(tmp_path):
    make_maestro(tmp_path / "maestro")
    make_libritts(tmp_path / "LibriTTS")
    _write(tmp_path / "LibriTTS" / "train-clean-100" / "1" / "2" / "long.wav", seconds=10)
    words = ["--dataset=maestro", f"--root={tmp_path / 'maestro'}", "--share=3"]
    words += ["--dataset=libritts", f"--root={tmp_path / 'LibriTTS'}", "--share=1"]
    processes.run("prepare", *words, f"--data_dir={tmp_path / 'data'}")
    shards = Shards.open(tmp_path / "data")
    train = {source.name for source in shards.split("train")}
    assert len(train) == 5 and all(name.startswith(("maestro/", "libritts/")) for name in train)
    rng = np.random.default_rng(0)
    positions = [shards.random_positions(rng, 500, 1000) for _ in range(40)]
    drawn = [source for batch in positions for source, _ in batch]
    n_maestro = sum(source.name.startswith("maestro/") for source in drawn)
    assert n_maestro / len(drawn) == pytest.approx(0.75, abs=0.02)
    # Inside a part, and inside a source, every position is as likely.
    n_long = sum("long" in source.name for source in drawn)
    assert n_long / (len(drawn) - n_maestro) == pytest.approx(10 / 14, abs=0.04)
    rows = np.array([row for batch in positions for source, row in batch if "long" in source.name])
    counts, _ = np.histogram(rows, bins=5, range=(0, 220_500 - 1000))
    assert np.abs(counts / len(rows) - 0.2).max() < 0.03
    assert rows.min() >= 0 and rows.max() <= 220_500 - 1000


def test_a_mixture_without_shares_is_drawn_as_it_is_long(tmp_path):
    for name in ("one", "two"):
        _write(tmp_path / name / "a.wav")
    words = [f"--root={tmp_path / name}" for name in ("one", "two")]
    result = processes.run(
        "prepare", "--dataset=folder", "--dataset=folder", *words, f"--data_dir={tmp_path / 'data'}"
    )
    assert "skipped            0" in result.stdout
    sources = Shards.open(tmp_path / "data").sources
    assert {source.name for source in sources} == {"folder0/a.wav", "folder1/a.wav"}
    assert "weight" not in (tmp_path / "data" / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --audio_dir or --dataset with --root"),
        (["--dataset=folder"], "1 times --dataset, but 0 times --root"),
        (["--dataset=folder", "--root=.", "--audio_dir=."], "give either --audio_dir or"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, words, message):
    result = processes.run("prepare", *words, f"--data_dir={tmp_path / 'data'}", ok=False)
    assert f"error: {message}" in result.stderr
