"""The five stages of a training, their folders, and what each needs from the one before."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any

from musika_tf.config import Config, TrainingConfig, require_equal, section_from_dict
from musika_tf.training import checkpoint

CONFIG_FILE = "config.json"
# In the folder of a stage: the flags of its last run, as a flagfile.
FLAGS_FILE = "flags.txt"
# In the run folder: how it was started to be trained, for flags that a later command leaves out.
TRAINING_FILE = "training.json"
# In the run folder: the training of an autoencoder that another run gave.
ADOPTED_FILE = "adopted_autoencoder.json"
# In the folder of the GAN: fingerprint of the encoders whose latents it learns.
ENCODER_FILE = "encoder.txt"


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


def checkpoint_of(run_dir: str | os.PathLike, stage: str, is_best: bool = False) -> pathlib.Path:
    """The newest checkpoint of a stage, or the best by its held-out figure.

    Raises:
      ValueError: there is none; the message says which command makes it.
    """
    find = checkpoint.best if is_best else checkpoint.latest
    path = find(stage_dir(run_dir, stage))
    if path is None:
        kind = "best checkpoint" if is_best else "checkpoint"
        raise ValueError(
            f"{stage_dir(run_dir, stage)} holds no {kind}: first run "
            f"`{STAGES[stage].command} --run_dir={run_dir}` with the same preset"
        )
    return path


def autoencoder_checkpoint(run_dir: str | os.PathLike) -> pathlib.Path:
    """The newest checkpoint with both levels: of phase 2 if it was started, else of phase 1."""
    finished = checkpoint.latest(stage_dir(run_dir, "level2_phase2"))
    return finished or checkpoint_of(run_dir, "level2_phase1")


def encoder_fingerprint(run_dir: str | os.PathLike) -> str:
    """Identifies the weights of a run's encoders: latents of others mean other sounds."""
    return checkpoint.fingerprint(autoencoder_checkpoint(run_dir), ("encoder1", "encoder2"))


def require_encoder(run_dir: str | os.PathLike) -> None:
    """Checks that a run's GAN was trained on latents of the encoders that the run has now.

    Raises:
      ValueError: the autoencoder was trained on after the GAN was started.
    """
    path = stage_dir(run_dir, "gan") / ENCODER_FILE
    if path.exists() and path.read_text() != encoder_fingerprint(run_dir):
        raise ValueError(
            f"the GAN in {run_dir} was trained on latents of other encoders than the run has now, "
            "and its music would be noise: encode again and train a GAN in a new run folder with "
            f"--autoencoder={run_dir}"
        )


def require_same_encoder(gan_checkpoint: pathlib.Path, fingerprint: str) -> None:
    """Checks that a GAN to go on from was trained on latents of the same encoders.

    Raises:
      ValueError: of others.
    """
    path = gan_checkpoint.with_name(ENCODER_FILE)
    if path.exists() and path.read_text() != fingerprint:
        raise ValueError(
            f"{gan_checkpoint} was trained on latents of other encoders, which mean other sounds: "
            "encode with the autoencoder of its run, and name that with --autoencoder"
        )


def autoencoder_source(
    run_dir: str | os.PathLike, other_dir: str | os.PathLike | None, config: Config
) -> str | os.PathLike:
    """The run whose autoencoder a GAN builds on.

    Args:
      run_dir: run of the GAN; may not exist yet.
      other_dir: the run to take the autoencoder from, or None.
      config: the system of the GAN.

    Returns:
      `other_dir` where it is still to be adopted, else `run_dir`.

    Raises:
      ValueError: the runs do not fit together, or `run_dir` has another autoencoder already.
    """
    if other_dir is None:
        return run_dir
    theirs = require_config(other_dir)
    for section in ("audio", "autoencoder"):
        ours = getattr(config, section)
        require_equal(ours, getattr(theirs, section), "the command line", str(other_dir))
    trained = [
        name for name in STAGES if name != "gan" and checkpoint.latest(stage_dir(run_dir, name))
    ]
    if not trained:
        return other_dir
    adopted = (pathlib.Path(run_dir) / ADOPTED_FILE).exists()
    if not adopted or encoder_fingerprint(run_dir) != encoder_fingerprint(other_dir):
        raise ValueError(
            f"{run_dir} has another autoencoder already: leave out --autoencoder, or start a new "
            f"run folder to use {other_dir}"
        )
    return run_dir


def adopt_autoencoder(run_dir: str | os.PathLike, other_dir: str | os.PathLike) -> None:
    """Copies the autoencoder of another run and what is known of its training.

    Afterwards the run holds all that belongs to its system, and the other one is not needed.
    """
    source = autoencoder_checkpoint(other_dir)
    target = stage_dir(run_dir, source.parent.name) / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{source.name}.copy")
    shutil.copyfile(source, temporary)
    provenance = {k: v for k, v in training_provenance(other_dir).items() if k != "gan"}
    _write(pathlib.Path(run_dir) / ADOPTED_FILE, json.dumps(provenance, indent=2))
    temporary.replace(target)


def training_provenance(run_dir: str | os.PathLike, with_best_gan: bool = False) -> dict[str, Any]:
    """Step and flags of every stage of a run, by stage; of an adopted autoencoder too."""
    adopted = pathlib.Path(run_dir) / ADOPTED_FILE
    stages = json.loads(adopted.read_text()) if adopted.exists() else {}
    for name in STAGES:
        find = checkpoint.best if with_best_gan and name == "gan" else checkpoint.latest
        path = find(stage_dir(run_dir, name))
        if path and name not in stages:
            flags = _saved_flags(path.with_name(FLAGS_FILE))
            stages[name] = {"step": checkpoint.step_of(path), "flags": flags}
    return stages


def _saved_flags(path: pathlib.Path) -> list[str]:
    """Flags as `--name=value`; of folders only the last part: the model is for giving away."""
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.partition("=") for line in lines if line.startswith("--"))
    return [name + equals + os.path.basename(value.rstrip("/")) for name, equals, value in pairs]


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


def saved_training(run_dir: str | os.PathLike) -> TrainingConfig | None:
    """How a run was started to be trained; None for a new run."""
    path = pathlib.Path(run_dir) / TRAINING_FILE
    if not path.exists():
        return None
    return section_from_dict(TrainingConfig, json.loads(path.read_text()))


def initial_checkpoint(
    run_dir: str | os.PathLike, stage: str, source: str | os.PathLike, config: Config
) -> pathlib.Path:
    """The checkpoint whose weights a stage of a new run begins with, instead of random ones.

    Args:
      run_dir: the new run.
      stage: name of the stage.
      source: another run, whose newest checkpoint of the same stage is meant; or the folder of a
        stage; or a checkpoint.
      config: the system of the new run.

    Raises:
      ValueError: nothing is there, the systems differ (every differing field is named), or the new
        run has a stage before this one, whose weights this one would begin with.
    """
    before = STAGES[stage].needs
    if stage != "gan" and before and checkpoint.latest(stage_dir(run_dir, before)):
        raise ValueError(
            f"{run_dir} has {before}, with whose weights {stage} begins: leave out --init_from, or "
            "start a new run folder to begin with other weights"
        )
    source = pathlib.Path(source)
    if source.is_file():
        path = source
    else:
        path = checkpoint.latest(source) or checkpoint.latest(stage_dir(source, stage))
    if path is None:
        there = [name for name in STAGES if checkpoint.latest(stage_dir(source, name))]
        raise ValueError(
            f"{source} has no checkpoint of {stage} to begin with: it "
            + (f"has {', '.join(there)}" if there else "is no run, stage or checkpoint")
        )
    theirs = saved_config(path.parent.parent)
    # A checkpoint that was copied out of its run is checked by the shapes of its weights alone.
    if theirs:
        for section in (
            "audio",
            "autoencoder",
            *(("gan", "conditioning") if stage == "gan" else ()),
        ):
            ours = getattr(config, section)
            require_equal(ours, getattr(theirs, section), "the command line", str(source))
    return path


def check_config(run_dir: str | os.PathLike, config: Config) -> None:
    """Checks a config against that of an existing run.

    Raises:
      ValueError: the run was started with another config; every differing field is named.
    """
    saved = saved_config(run_dir)
    if saved is not None:
        require_equal(config, saved, "the command line", f"{run_dir}/{CONFIG_FILE}")


def begin(
    run_dir: str | os.PathLike,
    stage: str,
    config: Config,
    training: TrainingConfig,
    flags_text: str,
) -> None:
    """Writes what a stage leaves before its first step; called when nothing can be wrong any more.

    Args:
      run_dir: run folder; made if missing. Its first stage gives it its config and training.
      stage: name of the stage.
      config, training: of the stage.
      flags_text: flags of the program, kept beside the checkpoints; may be empty.
    """
    run_dir, folder = pathlib.Path(run_dir), stage_dir(run_dir, stage)
    folder.mkdir(parents=True, exist_ok=True)
    if not (run_dir / CONFIG_FILE).exists():
        training_text = json.dumps(dataclasses.asdict(training), indent=2)
        _write(run_dir / TRAINING_FILE, training_text)
        _write(run_dir / CONFIG_FILE, config.to_json())
    if flags_text:
        _write(folder / FLAGS_FILE, flags_text)


def _write(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
