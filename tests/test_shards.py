"""Shards: what is read back equals what was written, and nothing half-done is left behind."""

import json

import numpy as np
import pytest

from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.shards import Shards

N_ROWS = {"a": 300, "b": 40, "c": 700, "d": 250, "e": 999}


def _rows(name: str) -> np.ndarray:
    """[n_rows, 2] int16: the source's own number in one channel, the row in the other."""
    n_rows = N_ROWS[name]
    number = np.full(n_rows, ord(name))
    return np.stack([number, np.arange(n_rows)], axis=1).astype(np.int16)


def _write(folder, **options):
    with ShardWriter(folder, 2, "int16", {"kind": "waveform"}, **options) as writer:
        for name in N_ROWS:
            writer.add(name, _rows(name), "validation" if name == "d" else "train")


@pytest.fixture
def shards(tmp_path):
    _write(tmp_path / "shards", max_shard_rows=1000)
    return Shards.open(tmp_path / "shards")


def random_crops(shards, rng, n_crops, n_rows):
    return shards.crops(shards.random_positions(rng, n_crops, n_rows), n_rows)


def test_sources_come_back_as_written(shards):
    assert [source.name for source in shards.sources] == list(N_ROWS)
    for source in shards.sources:
        np.testing.assert_array_equal(shards.rows(source), _rows(source.name))
    assert shards.metadata == {"kind": "waveform"}
    assert (shards.n_channels, shards.dtype) == (2, np.int16)


def test_a_full_shard_is_closed(shards):
    assert [source.shard[6:11] for source in shards.sources] == [
        "00000", "00000", "00001", "00001", "00002"
    ]  # fmt: skip


def test_shards_are_plain_arrays(shards, tmp_path):
    array = np.load(tmp_path / "shards" / "shard-00000.npy", allow_pickle=False)
    np.testing.assert_array_equal(array, np.concatenate([_rows("a"), _rows("b")]))


def test_random_crops_lie_inside_one_source(shards):
    crops = random_crops(shards, np.random.default_rng(0), 500, 41)
    assert crops.shape == (500, 41, 2)
    # One source a crop, and consecutive rows of it.
    assert (np.ptp(crops[:, :, 0], axis=1) == 0).all()
    assert (np.diff(crops[:, :, 1], axis=1) == 1).all()
    # "b" is one row too short, "d" is held out.
    assert {chr(number) for number in crops[:, 0, 0]} == {"a", "c", "e"}


def test_random_crops_are_uniform_over_positions(shards):
    crops = random_crops(shards, np.random.default_rng(0), 20_000, 200)
    n_positions = {"a": 101, "c": 501, "e": 800}
    for name, n in n_positions.items():
        firsts = crops[crops[:, 0, 0] == ord(name), 0, 1]
        assert len(firsts) / 20_000 == pytest.approx(n / sum(n_positions.values()), abs=0.015)
        assert (firsts.min(), firsts.max()) == (0, n - 1)


def test_a_crop_may_be_a_whole_source(shards):
    crop = random_crops(shards, np.random.default_rng(0), 1, 999)[0]
    np.testing.assert_array_equal(crop, _rows("e"))


def test_fixed_crops_are_evenly_spaced_and_held_out(shards):
    crops = shards.fixed_crops(4, 51)
    np.testing.assert_array_equal(crops[:, 0, 0], [ord("d")] * 4)
    np.testing.assert_array_equal(crops[:, 0, 1], [25, 75, 125, 175])  # of positions 0 to 199
    np.testing.assert_array_equal(crops, shards.fixed_crops(4, 51))


def test_crops_of_several_lengths_and_splits_do_not_disturb_each_other(shards):
    before = {
        (n, s): shards.fixed_crops(3, n, s) for n in (51, 60) for s in ("train", "validation")
    }
    for (n_rows, split), crops in before.items():
        assert crops.shape == (3, n_rows, 2)
        np.testing.assert_array_equal(shards.fixed_crops(3, n_rows, split), crops)
    assert set(before[51, "validation"][:, 0, 0]) == {ord("d")}
    assert ord("d") not in before[51, "train"][:, 0, 0]


def test_the_table_of_positions_is_made_once(shards, monkeypatch):
    rng = np.random.default_rng(0)
    random_crops(shards, rng, 2, 41)
    monkeypatch.setattr(shards, "split", None)  # What a table is made from.
    random_crops(shards, rng, 2, 41)


def test_sources_too_short_for_a_crop_are_counted(shards):
    assert shards.too_short(300) == (1, 40)
    assert shards.too_short(301) == (2, 340)
    assert shards.too_short(251, "validation") == (1, 250)
    assert shards.too_short(250, "validation") == (0, 0)
    assert shards.longest("train").name == "e"


def test_crops_too_long_for_every_source(shards):
    with pytest.raises(ValueError, match="takes 1000 rows .* 'e', has 999"):
        random_crops(shards, np.random.default_rng(0), 1, 1000)


def test_a_split_without_sources(tmp_path):
    with ShardWriter(tmp_path / "s", 1, "float16", {}) as writer:
        writer.add("a", np.zeros((5, 1), np.float16), "train")
    with pytest.raises(ValueError, match="no validation source"):
        Shards.open(tmp_path / "s").fixed_crops(1, 2)


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with ShardWriter(tmp_path / "s", 2, "int16", {}) as writer:
            writer.add("a", _rows("a"), "train")
            raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_writer_without_sources_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no source was added"):
        with ShardWriter(tmp_path / "s", 2, "int16", {}):
            pass
    assert not list(tmp_path.iterdir())


def test_finished_shards_are_replaced_only_on_request(tmp_path):
    _write(tmp_path / "s")
    with pytest.raises(ValueError, match="finished shards already"):
        _write(tmp_path / "s")
    with ShardWriter(tmp_path / "s", 1, "float32", {}, overwrite=True) as writer:
        writer.add("new", np.ones((3, 1), np.float32), "train")
        assert Shards.open(tmp_path / "s").n_channels == 2  # The old ones, until the very end.
    assert [source.name for source in Shards.open(tmp_path / "s").sources] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    _write(tmp_path / "s")
    (tmp_path / "s" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="notes.txt"):
        _write(tmp_path / "s", overwrite=True)


@pytest.mark.parametrize(
    ("rows", "split", "message"),
    [
        (np.zeros((3, 1), np.int16), "train", r"shape \(3, 1\)"),
        (np.zeros((0, 2), np.int16), "train", "at least one row"),
        (np.zeros((3, 2), np.float32), "train", "float32; these shards hold int16"),
        (np.zeros((3, 2), np.int16), "test", "split='test'"),
    ],
)
def test_bad_sources_are_refused(tmp_path, rows, split, message):
    with pytest.raises(ValueError, match=message):
        with ShardWriter(tmp_path / "s", 2, "int16", {}) as writer:
            writer.add("a", rows, split)


def test_latents_that_are_not_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="NaN"):
        with ShardWriter(tmp_path / "s", 1, "float16", {}) as writer:
            writer.add("a", np.array([[np.nan]], np.float16), "train")


def test_a_missing_folder_tells_what_makes_it(tmp_path):
    with pytest.raises(ValueError, match="musika-prepare .* or musika-encode"):
        Shards.open(tmp_path / "nothing")


def test_a_truncated_shard_is_noticed(shards, tmp_path):
    path = tmp_path / "shards" / "shard-00001.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="shard-00001.npy is missing or damaged"):
        Shards.open(tmp_path / "shards")


def test_another_version_is_refused(shards, tmp_path):
    path = tmp_path / "shards" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        Shards.open(tmp_path / "shards")


# Labels


def _labels(name: str, n_labels: int = 2) -> np.ndarray:
    """[n_rows, n_labels] float32: 1000 times the source's number, plus the row, then its root."""
    rows = 1000.0 * ord(name) + np.arange(N_ROWS[name])
    return np.stack([rows, np.sqrt(rows)], axis=1).astype(np.float32)[:, :n_labels]


@pytest.fixture
def labelled(tmp_path):
    names = ("number", "root")
    writer = ShardWriter(tmp_path / "s", 2, "int16", {}, max_shard_rows=1000, label_names=names)
    with writer:
        for name in N_ROWS:
            writer.add(name, _rows(name), "train", _labels(name))
    return Shards.open(tmp_path / "s")


def test_labels_come_back_beside_their_rows(labelled, tmp_path):
    assert labelled.label_names == ("number", "root")
    for source in labelled.sources:
        np.testing.assert_array_equal(labelled.labels(source), _labels(source.name))
        np.testing.assert_array_equal(labelled.rows(source), _rows(source.name))
    array = np.load(tmp_path / "s" / "shard-00000.labels.npy", allow_pickle=False)
    np.testing.assert_array_equal(array, np.concatenate([_labels("a"), _labels("b")]))


def test_shards_without_labels_have_none(shards, tmp_path):
    assert shards.label_names == ()
    assert shards.labels(shards.sources[1]).shape == (40, 0)
    assert not list((tmp_path / "shards").glob("*.labels.npy"))


def test_shards_of_earlier_releases_have_none(shards, tmp_path):
    path = tmp_path / "shards" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["labels"]
    path.write_text(json.dumps(manifest))
    again = Shards.open(tmp_path / "shards")
    assert again.label_names == ()
    np.testing.assert_array_equal(again.rows(again.sources[0]), _rows("a"))


def test_missing_labels_are_noticed(labelled, tmp_path):
    (tmp_path / "s" / "shard-00001.labels.npy").unlink()
    with pytest.raises(ValueError, match=r"shard-00001\.labels\.npy is missing"):
        Shards.open(tmp_path / "s")


def test_labelled_shards_are_replaced_whole(labelled, tmp_path):
    with ShardWriter(tmp_path / "s", 2, "int16", {}, overwrite=True) as writer:
        writer.add("a", _rows("a"), "train")
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == ["manifest.json", "shard-00000.npy"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"source 'a' has none labels; its 300 rows need float32 \[300, 2\]"),
        (_labels("a", 1), r"has float32 \[300, 1\] labels"),
        (_labels("a")[:299], r"has float32 \[299, 2\] labels"),
        (_labels("a").astype(np.float64), "has float64"),
        (_labels("a") / np.float32(0), "labels of source 'a' hold infinite"),
    ],
)
def test_bad_labels_are_refused(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        with ShardWriter(tmp_path / "s", 2, "int16", {}, label_names=("x", "y")) as writer:
            writer.add("a", _rows("a"), "train", labels)
