"""A training that is killed at any moment goes on as if it had not been, to the last bit."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
import stage_process
from comparing import require_same

from musika_tf.runs import checkpoint

pytestmark = pytest.mark.slow

STAGES = (*stage_process.STAGES, "conditional_gan")
OF_A_GAN = ("generator_average/", "optimizers/generator/", "optimizers/discriminator/")
# What must not stand still at the end: of that it would prove nothing.
MOVING = {
    "level1_phase2": ("decoder1/", "singular_vector", "optimizers/decoder/", OF_A_GAN[-1]),
    "gan": OF_A_GAN,
    "conditional_gan": (*OF_A_GAN, "estimator/", "optimizers/estimator/"),
}


def run_with_kills(stage: str, n_steps: int, n_kills: int, folder, rng: random.Random) -> None:
    """Kills a training `n_kills` times, each time after some headway; then lets it be."""
    for _ in range(n_kills):
        before = checkpoint.latest(folder)
        process = stage_process.start(stage, n_steps, folder)
        while checkpoint.latest(folder) == before:
            process.must_run()
            time.sleep(0.01)
        # A checkpoint is written every other step: many kills hit one that is being written.
        time.sleep(rng.uniform(0.0, 0.4))
        process.must_run()
        process.kill()
        found = [*folder.glob("checkpoint-*"), *folder.glob("best-*")]
        assert found
        for path in found:
            assert "state/step" in checkpoint._read(path)
    stage_process.start(stage, n_steps, folder).succeed()


@pytest.mark.parametrize(
    ("stage", "n_kills"),
    [
        ("level1_phase1", 1),
        ("gan", 1),
        *(pytest.param(stage, 4, marks=pytest.mark.large) for stage in STAGES),
    ],
)
def test_kill_and_resume(tmp_path, tiny_config, stage, n_kills):
    stage_process.write_data(tmp_path, tiny_config)
    # Long enough for the kills, each of which comes after some headway.
    n_steps = 60 * (1 + n_kills)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    stage_process.start(stage, n_steps, whole).succeed()
    run_with_kills(stage, n_steps, n_kills, killed, random.Random(stage))

    expected, found = (checkpoint._read(checkpoint.latest(folder)) for folder in (whole, killed))
    require_same(found, expected)
    before = checkpoint._read(min(whole.glob("checkpoint-*")))
    for kind in MOVING.get(stage, ("networks/", "optimizers/")):
        names = [name for name in expected if kind in name]
        assert any(not np.array_equal(before[name], expected[name]) for name in names), kind
    assert checkpoint.best(whole).name == checkpoint.best(killed).name
    # A step that was taken twice gave the same numbers twice.
    clocks = ("steps_per_second",)
    assert stage_process.curves(killed, clocks) == stage_process.curves(whole, clocks)
    assert not list(killed.glob(".*"))
