"""The five stages of a training, their folders, and what each needs from the one before."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
import pathlib
import shutil

from musika_tf.config import Config, require_equal
from musika_tf.training import checkpoint

CONFIG_FILE = "config.json"
# In the folder of a stage: the flags of its last run, as a flagfile.
FLAGS_FILE = "flags.txt"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage: its folder in the run, the stage that it starts from, and its command."""

    name: str
    needs: str | None
    command: str


STAGES = {
    stage.name: stage
    for stage in (
        Stage("level1_phase1", None, "musika-train-autoencoder --level=1 --phase=1"),
        Stage("level1_phase2", "level1_phase1", "musika-train-autoencoder --level=1 --phase=2"),
        Stage("level2_phase1", "level1_phase2", "musika-train-autoencoder --level=2 --phase=1"),
        Stage("level2_phase2", "level2_phase1", "musika-train-autoencoder --level=2 --phase=2"),
        Stage("gan", "level2_phase1", "musika-train-gan"),
    )
}


def autoencoder_stage(level: int, phase: int) -> Stage:
    """The stage that trains `level` (1 or 2) in `phase` (1 or 2)."""
    return STAGES[f"level{level}_phase{phase}"]


def stage_dir(run_dir: str | os.PathLike, stage: str) -> pathlib.Path:
    """Folder of a stage."""
    return pathlib.Path(run_dir) / stage


def checkpoint_of(run_dir: str | os.PathLike, stage: str) -> pathlib.Path:
    """The newest checkpoint of a stage.

    Raises:
      ValueError: there is none; the message says which command makes it.
    """
    path = checkpoint.latest(stage_dir(run_dir, stage))
    if path is None:
        raise ValueError(
            f"{stage_dir(run_dir, stage)} holds no checkpoint: first run "
            f"`{STAGES[stage].command} --run_dir={run_dir}` with the same preset"
        )
    return path


def autoencoder_checkpoint(run_dir: str | os.PathLike) -> pathlib.Path:
    """The newest checkpoint with both levels: of phase 2 if it was started, else of phase 1.

    Phase 2 leaves the encoders as they are, so either gives the same latents.
    """
    finished = checkpoint.latest(stage_dir(run_dir, "level2_phase2"))
    return finished or checkpoint_of(run_dir, "level2_phase1")


def adopt_autoencoder(run_dir: str | os.PathLike, source_dir: str | os.PathLike) -> None:
    """Copies the trained autoencoder of another run, so that a GAN can be trained on its latents.

    Afterwards the run holds all that belongs to its system, and the other one is not needed.

    Args:
      run_dir: run with a bound config and no level-2 checkpoint of its own.
      source_dir: run with a trained autoencoder of the same sizes.

    Raises:
      ValueError: the runs do not fit together, or `run_dir` has an autoencoder already.
    """
    source = autoencoder_checkpoint(source_dir)
    ours, theirs = require_config(run_dir), require_config(source_dir)
    for section in ("audio", "autoencoder"):
        require_equal(
            getattr(ours, section), getattr(theirs, section), str(run_dir), str(source_dir)
        )
    target_dir = stage_dir(run_dir, source.parent.name)
    present = checkpoint.latest(target_dir)
    if present and not filecmp.cmp(present, source, shallow=False):
        raise ValueError(
            f"{run_dir} has an autoencoder of its own: start a new run folder to use {source_dir}"
        )
    target_dir.mkdir(parents=True, exist_ok=True)
    temporary = target_dir / f".{source.name}.copy"
    shutil.copyfile(source, temporary)
    temporary.replace(target_dir / source.name)


def saved_config(run_dir: str | os.PathLike) -> Config | None:
    """The config that a run was started with; None for a new run.

    Raises:
      ValueError: the file is damaged, or of another version.
    """
    path = pathlib.Path(run_dir) / CONFIG_FILE
    if not path.exists():
        return None
    try:
        return Config.from_json(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it, and the run's next training with the same "
            "preset writes it again"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def require_config(run_dir: str | os.PathLike) -> Config:
    """The config of an existing run.

    Raises:
      ValueError: the folder is not a run.
    """
    config = saved_config(run_dir)
    if config is None:
        raise ValueError(
            f"{run_dir} is not a run folder: it has no {CONFIG_FILE}; "
            f"`{STAGES['level1_phase1'].command} --run_dir={run_dir}` starts a run"
        )
    return config


def bind_config(run_dir: str | os.PathLike, config: Config) -> None:
    """Saves the config of a new run, or checks it against the saved one.

    Raises:
      ValueError: the run was started with another config; every differing field is named.
    """
    saved = saved_config(run_dir)
    if saved is not None:
        require_equal(config, saved, "the command line", f"{run_dir}/{CONFIG_FILE}")
        return
    path = pathlib.Path(run_dir) / CONFIG_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(config.to_json())
    temporary.replace(path)
