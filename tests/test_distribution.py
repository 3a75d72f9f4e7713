"""Replicas that share a batch take the steps that one device takes with the whole batch."""

from __future__ import annotations

import json
import socket
import time

import numpy as np
import pytest
import stage_process

from musika_tf.runs import checkpoint
from musika_tf.training import devices

pytestmark = pytest.mark.slow

# Metrics that are no means over examples: a replica's own are averaged, which is another number.
NOT_MEANS = ("latents/spread_ratio", "steps_per_second")


def start_workers(*words) -> list:
    """Two processes that find each other on this machine."""
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("localhost", 0))
    workers = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    tasks = ({"type": "worker", "index": index} for index in range(2))
    configs = [json.dumps({"cluster": {"worker": workers}, "task": task}) for task in tasks]
    return [
        stage_process.start(*words, "--strategy=multi_worker", TF_CONFIG=text) for text in configs
    ]


def check_losses(one, several, steps):
    """Losses of some steps, within 1e-4."""
    expected, found = (stage_process.curves(folder, NOT_MEANS) for folder in (one, several))
    assert expected.keys() == found.keys()
    for name in (name for name in expected if not name.startswith("held_out")):
        for step in steps:
            (a,), (b,) = expected[name][step], found[name][step]
            assert b == pytest.approx(a, rel=1e-4, abs=1e-4), (name, step)


def check_weights(one, several):
    """Weights after two steps, within 1e-4."""
    name = "checkpoint-00000002.safetensors"
    expected, found = (checkpoint._read(folder / name) for folder in (one, several))
    assert expected.keys() == found.keys()
    # Adam's first steps follow the sign of a gradient however small it is: where one is as small as
    # rounding, replicas may go another way. Few do.
    weights = [name for name in expected if name.startswith("networks/")]
    differences = [np.abs(expected[name] - found[name]).ravel() for name in weights]
    assert np.mean(np.concatenate(differences) > 1e-4) < 1e-3


def all_stages(by_default: str) -> list:
    """One stage in the default tier, the others in the large one."""
    large = {stage for stage in stage_process.STAGES if stage != by_default}
    return [pytest.param(s, marks=[pytest.mark.large] * (s in large)) for s in stage_process.STAGES]


@pytest.mark.parametrize("stage", all_stages(by_default="level2_phase1"))
def test_two_replicas_are_one(tmp_path, tiny_config, stage):
    stage_process.write_data(tmp_path, tiny_config)
    one, two = (
        stage_process.start(stage, 4, tmp_path / name, *rest)
        for name, rest in (("one", ()), ("two", ("--strategy=mirrored", "--n_devices=2")))
    )
    one.succeed()
    two.succeed()
    check_losses(tmp_path / "one", tmp_path / "two", (2, 4))
    check_weights(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("stage", all_stages(by_default="level1_phase1"))
def test_two_workers_are_one(tmp_path, tiny_config, stage):
    stage_process.write_data(tmp_path, tiny_config)
    one = stage_process.start(stage, 4, tmp_path / "one")
    for process in (one, *start_workers(stage, 4, tmp_path / "two")):
        process.succeed()
    check_losses(tmp_path / "one", tmp_path / "two", (2, 4))
    check_weights(tmp_path / "one", tmp_path / "two")


@pytest.mark.large
def test_workers_go_on_after_one_of_them_was_killed(tmp_path, tiny_config):
    stage_process.write_data(tmp_path, tiny_config)
    out = tmp_path / "out"
    chief, other = start_workers("gan", 100_000, out)
    while not checkpoint.latest(out):
        chief.must_run()
        time.sleep(0.1)
    other.kill()
    done = chief.finish(120)
    assert done.returncode != 0
    assert "a worker is gone" in done.stderr and "start all workers again" in done.stderr
    reached = checkpoint.step_of(checkpoint.latest(out))
    for worker in start_workers("gan", reached + 4, out):
        worker.succeed()
    assert checkpoint.step_of(checkpoint.latest(out)) == reached + 4
    assert max(stage_process.curves(out)["discriminator/hinge"]) == reached + 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "needs the environment variable TF_CONFIG"),
        ("{", "is damaged"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "no worker of",
        ),
    ],
)
def test_tf_config_is_checked(monkeypatch, text, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message):
        devices.make_strategy("multi_worker")


def test_unknown_strategy():
    with pytest.raises(ValueError, match="must be one of none, mirrored, multi_worker"):
        devices.make_strategy("some")
