"""One command from audio to weights that play: its plan, and the command itself."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import signal
import time

import keras
import numpy as np
import processes
import pytest
from random_model import save_networks, save_random_run

from musika_tf.chain import chain
from musika_tf.chain.order import Order
from musika_tf.chain.plan import Plan
from musika_tf.data.audio_folder import Found
from musika_tf.player import open_player
from musika_tf.runs import checkpoint, release, shipped
from musika_tf.runs.run import Run
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training.loop import LoopSettings
from musika_tf.training_config import TrainingConfig

TRAININGS = ("level1_phase1", "level1_phase2", "level2_phase1", "level2_phase2")
STAGES = ("prepare", *TRAININGS, "encode", "gan", "release")


# The plan


def test_time_is_shared_by_what_is_left(tmp_path):
    plan = Plan(tmp_path / "plan.json", {}, STAGES, hours=1.0)
    # An hour less the four minutes that are left for the end, in 24 parts.
    assert plan.seconds_of("level1_phase2") == pytest.approx(3360 * 6 / 24)
    plan.done, plan.spent_seconds = [*STAGES[:-2]], 3000.0
    assert plan.seconds_of("gan") == pytest.approx(360)
    assert plan.seconds_of("release") == pytest.approx(240)
    plan.spent_seconds = 1e6
    assert plan.seconds_of("gan") == 0.0


def test_a_plan_is_taken_up_by_the_same_command_alone(tmp_path):
    asked = {"hours": "--hours=8", "audio_dir": "--audio_dir=music"}
    path, loop = tmp_path / "mine" / "plan.json", LoopSettings(n_steps=70, sample_n_steps=9)
    plan = Plan(path, asked, STAGES, 8.0)
    assert plan.is_new
    plan.loops["gan"], plan.spent_seconds, plan.done = loop, 12.5, ["prepare"]
    plan.save()
    again = Plan(path, asked, STAGES, 8.0)
    assert (again.loops, again.spent_seconds, again.done) == ({"gan": loop}, 12.5, ["prepare"])
    assert not again.is_new
    for other, message in (
        (asked | {"hours": "--hours=4"}, r"\(--hours=8; now --hours=4\)"),
        (asked | {"seed": "--seed=1"}, r"\(without --seed; now --seed=1\)"),
        ({"hours": "--hours=8"}, r"\(--audio_dir=music; now without --audio_dir\)"),
    ):
        with pytest.raises(ValueError, match=f"mine was begun with other flags {message}"):
            Plan(path, other, STAGES, 8.0)


# The command


@pytest.fixture(scope="module")
def weights(tmp_path_factory, tiny_config) -> pathlib.Path:
    """Released weights with all networks of a GAN."""
    folder = tmp_path_factory.mktemp("released")
    keras.utils.set_random_seed(0)
    save_random_run(folder / "run", tiny_config)
    trainer = GanTrainer(config=tiny_config, training=TrainingConfig(), held_out=None)
    save_networks(folder / "run", "gan", 9, trainer.networks)
    return release.release(Run(folder / "run"), folder / "tiny")


def words(folder: pathlib.Path, *more: str) -> list[str]:
    folders = (f"--runs_dir={folder}/runs", f"--weights_dir={folder}/weights")
    return ["--audio_dir=tests/data/piano", "--name=mine", *folders, *more]


@pytest.fixture(scope="module")
def made(tmp_path_factory, weights) -> pathlib.Path:
    """What the command leaves, stopped while it trained and begun again."""
    folder = tmp_path_factory.mktemp("made")
    command = words(folder, "--hours=0.03", f"--autoencoder={weights}", f"--init_from={weights}")
    process = processes.Process("musika_tf.programs.train", *command)
    plan = folder / "runs" / "mine" / "plan.json"
    while not (plan.exists() and json.loads(plan.read_text())["loops"]):
        process.must_run()
        time.sleep(0.1)
    process.interrupt()
    stopped = process.finish()
    assert stopped.returncode == 128 + signal.SIGINT, stopped.stdout + stopped.stderr
    assert "the same command goes on from here" in stopped.stdout
    (folder / "stopped.json").write_text(plan.read_text())
    (folder / "shown.txt").write_text(processes.run("train", *command).stdout)
    return folder


@pytest.mark.slow
def test_a_stopped_command_goes_on_as_it_was_planned(made):
    before = json.loads((made / "stopped.json").read_text())
    after = json.loads((made / "runs" / "mine" / "plan.json").read_text())
    assert before["done"] == ["prepare", "encode"]
    assert after["done"] == ["prepare", "encode", "gan", "release"]
    assert after["loops"] == before["loops"]
    assert after["spent_seconds"] > before["spent_seconds"] > 0
    newest = checkpoint.latest(made / "runs" / "mine" / "gan")
    assert checkpoint.step_of(newest) == after["loops"]["gan"]["n_steps"] >= 20


def test_it_ends_with_weights_that_play_and_a_card(made, weights):
    player = open_player(made / "weights" / "mine")
    chunk = next(iter(player.stream(seed=(1, 0), truncation=2.0)))
    assert np.isfinite(chunk).all() and chunk.std() > 0
    card, shown = (made / "weights" / "mine" / "README.md").read_text(), made / "shown.txt"
    assert "The autoencoder is that of tiny; the GAN began with that of tiny." in card
    rows = [line for line in card.splitlines() if line.startswith(("| mine", "| tiny, which"))]
    assert len(rows) == 2 and rows[0] != rows[1]
    assert card.index("\n## Figures\n") < card.index(rows[0]) < card.index("\n## Training\n")
    assert all(row in shown.read_text() for row in rows)
    assert f"musika-generate --model_dir={made}/weights/mine" in shown.read_text()


def test_the_gan_begins_with_the_weights_that_were_named(made, weights):
    """Before its first step a run tells what it began with: the same as the weights themselves."""
    values = json.loads((made / "runs" / "mine" / "plan.json").read_text())
    assert values["init_from"] == str(weights)
    assert Run(made / "runs" / "mine").config == Run(weights).config


def test_of_the_gans_that_fit_the_nearest_is_begun_with(tmp_path, weights, monkeypatch):
    shutil.copytree(weights, tmp_path / "other")
    order = Order(
        name="mine",
        hours=1.0,
        recordings=Found((), {}, {}),
        asked={},
        config_like=lambda saved, adopted: saved,
        training=TrainingConfig(),
        autoencoder=Run(weights),
        init_from=None,
        annotators=(),
        labels={},
        validation_share=0.05,
        stuck_after_seconds=60,
        n_workers=1,
        runs_dir=tmp_path / "runs",
    )
    playable = {"tiny": weights, "other": tmp_path / "other", "piano": shipped.find("piano")}
    monkeypatch.setattr(shipped, "playable", lambda: playable)
    monkeypatch.setattr(chain, "open_waveforms", lambda *_: None)
    monkeypatch.setattr(chain.quality, "encoded", lambda *_: None)
    # Piano has other encoders: nobody asks how far it is.
    distances = {"tiny": 2.0, "other": 1.0}
    monkeypatch.setattr(chain, "_distance", lambda run, _: distances[run.folder.name])
    assert chain.Chain(order)._nearest().folder == tmp_path / "other"
    # It is of no use to a system with other sizes.
    sizes = dataclasses.replace(Run(weights).config.gan, style_depth=32)
    of_others = dataclasses.replace(Run(weights).config, gan=sizes)
    other_order = dataclasses.replace(order, config_like=lambda saved, adopted: of_others)
    assert chain.Chain(other_order)._nearest() is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--hours=0"], "hours=0 must be at least 0.01"),
        (["--name=a/b"], "name='a/b' must be letters"),
        (["--audio_dir=flags"], "no audio file in"),
        (["--from_scratch", "--autoencoder={weights}"], "leave it or --from_scratch out"),
        (["--from_scratch", "--init_from={weights}"], "leave out --from_scratch"),
        (["--conditioning=bright:share:0:1:step"], "nothing estimates bright: give --labels"),
        (["--autoencoder={weights}", "--init_from=piano"], "do not fit together"),
        (["--autoencoder={weights}", "--init_from={weights}", "--seq_len=32"], "seq_len"),
    ],
)
def test_mistakes_end_before_anything_is_made(tmp_path, weights, more, message):
    done = processes.run(
        "train", *words(tmp_path), *(w.format(weights=weights) for w in more), ok=False
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.large
def test_from_scratch_trains_every_stage(tmp_path):
    command = words(tmp_path, "--hours=0.05", "--from_scratch", "--preset=tiny")
    processes.run("train", *command)
    plan = json.loads((tmp_path / "runs" / "mine" / "plan.json").read_text())
    assert plan["done"] == list(STAGES)
    run = Run(tmp_path / "runs" / "mine")
    for stage, loop in plan["loops"].items():
        assert checkpoint.step_of(run.newest(stage)) == loop["n_steps"]
    assert (
        "The autoencoder is its own; the GAN began with random weights."
        in (tmp_path / "weights" / "mine" / "README.md").read_text()
    )
    open_player(tmp_path / "weights" / "mine")
