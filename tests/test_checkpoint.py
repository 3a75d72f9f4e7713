"""Checkpoints: whole or absent, named, checked."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from musika_tf.runs import checkpoint


def variables(value: float) -> dict[str, tf.Variable]:
    return {
        "networks/a/conv/kernel": tf.Variable(tf.fill((2, 3), value)),
        "state/step": tf.Variable(int(value), dtype=tf.int64),
    }


def test_round_trip_keeps_values_and_types(tmp_path):
    path = checkpoint.save(tmp_path, variables(7.0), step=12)
    restored = variables(0.0)
    checkpoint.restore(path, restored)
    np.testing.assert_array_equal(restored["networks/a/conv/kernel"], np.full((2, 3), 7.0))
    assert restored["state/step"].numpy() == 7
    assert path.name == "checkpoint-00000012.safetensors"


@pytest.mark.parametrize(
    "kept, expected",
    [
        ("loop/best_metric/held_out/ours", 0.25),
        ("loop/best_metric/held_out/other", np.inf),
        ("loop/best_metric", np.inf),  # Earlier releases did not say of which metric.
        ("loop/best_figure", np.inf),
    ],
)
def test_the_best_value_is_restored_of_the_same_metric_alone(tmp_path, kept, expected):
    path = checkpoint.save(tmp_path, variables(7.0) | {kept: tf.Variable(0.25)}, step=1)
    ours = variables(0.0) | {"loop/best_metric/held_out/ours": tf.Variable(np.inf)}
    checkpoint.restore(path, ours)
    assert ours["loop/best_metric/held_out/ours"].numpy() == expected
    assert ours["state/step"].numpy() == 7


def test_others_may_read_it(tmp_path):
    (tmp_path / "plain").touch()
    path = checkpoint.save(tmp_path, variables(7.0), step=12)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_newest_is_found_and_old_ones_go(tmp_path):
    assert checkpoint.latest(tmp_path / "missing") is None
    for step in (5, 100, 20):
        checkpoint.save(tmp_path, variables(float(step)), step)
    (tmp_path / "notes.txt").write_text("kept")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "checkpoint-00000020.safetensors",
        "checkpoint-00000100.safetensors",
        "notes.txt",
    ]
    assert checkpoint.latest(tmp_path).name == "checkpoint-00000100.safetensors"


def test_unfinished_and_damaged_files(tmp_path):
    path = checkpoint.save(tmp_path, variables(1.0), step=1)
    (tmp_path / ".checkpoint-00000002.safetensors.99").write_bytes(path.read_bytes()[:50])
    assert checkpoint.latest(tmp_path) == path
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.restore(path, variables(0.0))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v.pop("state/step"), "not needed state/step"),
        (lambda v: v.update({"state/new": tf.Variable(0.0)}), "missing state/new"),
        (lambda v: v.update({"state/step": tf.Variable([0])}), r"state/step has shape \(\)"),
    ],
)
def test_mismatches_are_named_and_nothing_is_assigned(tmp_path, change, message):
    path = checkpoint.save(tmp_path, variables(7.0), step=1)
    ours = variables(0.0)
    change(ours)
    with pytest.raises(ValueError, match=message):
        checkpoint.restore(path, ours)
    assert not ours["networks/a/conv/kernel"].numpy().any()


def test_networks_are_loaded_by_name(tmp_path):
    def network(name):
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs), name=name)

    trained, other = network("encoder1"), network("other")
    named = {f"networks/encoder1/{v.path}": v.value for v in trained.variables}
    path = checkpoint.save(tmp_path, named | variables(1.0), step=1)
    fresh = network("encoder1")
    checkpoint.load_networks(path, {"encoder1": fresh})
    np.testing.assert_array_equal(fresh.get_weights()[0], trained.get_weights()[0])
    with pytest.raises(ValueError, match="missing networks/other/dense/bias"):
        checkpoint.load_networks(path, {"other": other})
