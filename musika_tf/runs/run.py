"""A run: one folder with a system's config and everything that was trained of it.

    config.json               the system
    training.json             how it was started to be trained
    adopted_autoencoder.json  where an autoencoder comes from that another run gave
    STAGE/                    checkpoints, flags.txt, TensorBoard logs; the GAN's also encoder.txt

Released weights are a folder of the same shape.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from musika_tf import files, sections
from musika_tf.config import CONFIG_FILE, Config
from musika_tf.networks import precision as precision_lib
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.runs import checkpoint
from musika_tf.runs.stages import STAGES
from musika_tf.training_config import TrainingConfig

# How the run was started to be trained, for flags that a later command leaves out.
TRAINING_FILE = "training.json"
ADOPTED_FILE = "adopted_autoencoder.json"
# In a stage's folder: flags of its last run; in the GAN's: fingerprint of its latents' encoders.
FLAGS_FILE = "flags.txt"
ENCODER_FILE = "encoder.txt"


class Run:
    """A run folder, which need not exist yet, or released weights."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder)

    def __str__(self) -> str:
        return str(self.folder)

    # What it is

    @property
    def saved_config(self) -> Config | None:
        """The config that the run was started with; None for a new run.

        Raises:
          ValueError: the file is damaged, or of another version.
        """
        path = self.folder / CONFIG_FILE
        if not path.exists():
            return None
        try:
            return Config.from_json(path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): delete it, and the run's next training with the "
                "same preset writes it again"
            ) from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @property
    def config(self) -> Config:
        """The config of a run that was started.

        Raises:
          ValueError: the folder is not a run.
        """
        config = self.saved_config
        if config is None:
            raise ValueError(
                f"{self} is not a run folder: it has no {CONFIG_FILE}; "
                f"`{STAGES['level1_phase1'].command} --run_dir={self}` starts a run"
            )
        return config

    @property
    def saved_training(self) -> TrainingConfig | None:
        """How the run was started to be trained; None for a new run.

        Raises:
          ValueError: the file is of an unknown version.
        """
        path = self.folder / TRAINING_FILE
        if not path.exists():
            return None
        values = json.loads(path.read_text())
        version = values.pop("version", 1)  # Version 1 did not say so.
        return sections.section_from_dict(TrainingConfig, values, version)

    def check_config(self, config: Config) -> None:
        """Checks a config against that of the run, if it has one.

        Raises:
          ValueError: the run was started with another config; every differing field is named.
        """
        saved = self.saved_config
        if saved is not None:
            path = str(self.folder / CONFIG_FILE)
            sections.require_equal(config.as_trained, saved.as_trained, "the command line", path)

    # Stages

    def stage_dir(self, stage: str) -> pathlib.Path:
        """Folder of a stage."""
        return self.folder / stage

    def newest(self, stage: str) -> pathlib.Path | None:
        """The newest checkpoint of a stage, or None."""
        return checkpoint.latest(self.stage_dir(stage))

    @property
    def trained_stages(self) -> list[str]:
        """Names of the stages that have a checkpoint, in order."""
        return [stage for stage in STAGES if self.newest(stage)]

    def checkpoint(self, stage: str, is_best: bool = False) -> pathlib.Path:
        """The newest checkpoint of a stage, or the best by its held-out metric.

        Raises:
          ValueError: there is none; the message says which command makes it.
        """
        path = checkpoint.best(self.stage_dir(stage)) if is_best else self.newest(stage)
        if path is None:
            kind = "best checkpoint" if is_best else "checkpoint"
            raise ValueError(
                f"{self.stage_dir(stage)} holds no {kind}: first run "
                f"`{STAGES[stage].command} --run_dir={self}` with the same preset"
            )
        return path

    def begin(self, stage: str, config: Config, training: TrainingConfig, flags_text: str) -> None:
        """Writes what a stage leaves before its first step; when nothing can be wrong any more.

        Args:
          config, training: of the stage; the first stage gives them to the run. A response that the
            run was given is dropped: what is trained on has another one.
          flags_text: flags of the program, kept beside the checkpoints; may be empty.
        """
        self.stage_dir(stage).mkdir(parents=True, exist_ok=True)
        if self.saved_config is None:
            files.write_text(self.folder / TRAINING_FILE, sections.to_json(training))
        if self.saved_config != config:
            files.write_text(self.folder / CONFIG_FILE, config.to_json())
        if flags_text:
            files.write_text(self.stage_dir(stage) / FLAGS_FILE, flags_text)

    def initial_checkpoint(
        self, stage: str, source: str | os.PathLike, config: Config
    ) -> pathlib.Path:
        """The checkpoint whose weights a stage of this new run begins with, not with random ones.

        Args:
          source: another run, whose newest checkpoint of the same stage is meant; or the folder of
            a stage; or a checkpoint.

        Raises:
          ValueError: nothing is there, the systems differ (every differing field is named; what a
            GAN follows and its `mid_side` may differ), or this run has a stage before this one,
            whose weights this one would begin with.
        """
        before = STAGES[stage].needs
        if stage != "gan" and before and self.newest(before):
            raise ValueError(
                f"{self} has {before}, with whose weights {stage} begins: leave out --init_from, "
                "or start a new run folder to begin with other weights"
            )
        path = _find_checkpoint(pathlib.Path(source), stage)
        # A checkpoint that was copied out of its run is checked by the shapes of its weights alone.
        theirs = Run(path.parent.parent).saved_config
        if theirs:
            # Which of the two its critics saw can be converted, see `warm_start`.
            gan = dataclasses.replace(theirs.gan, mid_side=config.gan.mid_side)
            theirs = dataclasses.replace(theirs, gan=gan)
            names = ("audio", "autoencoder", *("gan",) * (stage == "gan"))
            _require_same(names, config, theirs, source)
        return path

    # Origin

    def provenance(self, with_best_gan: bool = False) -> dict[str, Any]:
        """Step and flags of every stage, by stage; of an adopted autoencoder too."""
        adopted = self.folder / ADOPTED_FILE
        found = json.loads(adopted.read_text()) if adopted.exists() else {}
        for stage in self.trained_stages:
            if stage not in found:
                path = self.checkpoint(stage, is_best=with_best_gan and stage == "gan")
                flags = _saved_flags(path.with_name(FLAGS_FILE))
                found[stage] = {"step": checkpoint.step_of(path), "flags": flags}
        return found

    # Autoencoder

    @property
    def autoencoder_checkpoint(self) -> pathlib.Path:
        """The newest checkpoint with both levels: of phase 2 if it was started, else of phase 1.

        Raises:
          ValueError: level 2 was not trained yet; the message says what to run.
        """
        return self.newest("level2_phase2") or self.checkpoint("level2_phase1")

    @property
    def decodes_magnitudes_only(self) -> bool:
        """Whether level 2 has not begun phase 2, so that its decoder never heard a waveform."""
        return self.autoencoder_checkpoint.parent.name == "level2_phase1"

    def encoder_fingerprint(self) -> str:
        """Identifies the weights of the encoders: latents of others mean other sounds."""
        return checkpoint.fingerprint(self.autoencoder_checkpoint, ("encoder1", "encoder2"))

    def autoencoder(self) -> Autoencoder:
        """The trained autoencoder, both levels.

        Raises:
          ValueError: no run, or level 2 was not trained yet; the message says what to run.
        """
        autoencoder = Autoencoder(self.config)
        checkpoint.load_networks(self.autoencoder_checkpoint, autoencoder.networks)
        return autoencoder

    def autoencoder_source(self, other: Run | None, config: Config) -> Run:
        """The run whose autoencoder a GAN in this run builds on.

        Args:
          other: the run to take the autoencoder from, or None.
          config: of the GAN.

        Returns:
          `other` where it is still to be adopted, else this run.

        Raises:
          ValueError: the runs do not fit together, or this one has another autoencoder already.
        """
        if other is None:
            return self
        _require_same(("audio", "autoencoder"), config, other.config, other)
        if not set(self.trained_stages) - {"gan"}:
            return other
        adopted = (self.folder / ADOPTED_FILE).exists()
        if not adopted or self.encoder_fingerprint() != other.encoder_fingerprint():
            raise ValueError(
                f"{self} has another autoencoder already: leave out --autoencoder, or start a new "
                f"run folder to use {other}"
            )
        return self

    def adopt_autoencoder(self, other: Run) -> None:
        """Copies the autoencoder of another run and what is known of its training.

        Afterwards this run holds all that belongs to its system, and the other one is not needed.
        """
        source = other.autoencoder_checkpoint
        provenance = {k: v for k, v in other.provenance().items() if k != "gan"}
        # The checkpoint gets its name last: where it is, everything is.
        with files.written_aside(self.stage_dir(source.parent.name) / source.name) as copy:
            shutil.copyfile(source, copy)
            files.write_text(self.folder / ADOPTED_FILE, json.dumps(provenance, indent=2))

    # GAN

    def synthesizer(self, with_best: bool = False, precision: str = "float32") -> Synthesizer:
        """What makes sound: the averaged generator, and the decoders of the newest stage.

        Args:
          with_best: the GAN's checkpoint of the best held-out metric instead of the newest one.
          precision: what the decoders compute in, `float32` or `bfloat16`.

        Raises:
          ValueError: no run, a stage was not trained yet (the message says what to run), or the GAN
            belongs to other encoders.
        """
        # Not the generator: a tenth of the work, and what it rounds becomes other notes.
        with precision_lib.trained_networks_of(precision):
            autoencoder = self.autoencoder()
        synthesizer = Synthesizer(self.config, autoencoder=autoencoder)
        path = self.checkpoint("gan", with_best)
        self.require_encoder()
        checkpoint.load_networks(path, {"generator_average": synthesizer.generator})
        return synthesizer

    def keep_encoder(self, fingerprint: str) -> None:
        """Keeps the fingerprint of the encoders whose latents the GAN learns."""
        files.write_text(self.stage_dir("gan") / ENCODER_FILE, fingerprint)

    def require_encoder(self) -> None:
        """Checks that the GAN was trained on latents of the encoders that the run has now.

        Raises:
          ValueError: the autoencoder was trained on after the GAN was started.
        """
        if _is_of_others(self.stage_dir("gan"), self.encoder_fingerprint):
            raise ValueError(
                f"the GAN in {self} was trained on latents of other encoders than the run has now, "
                "and its music would be noise: encode again and train a GAN in a new run folder "
                f"with --autoencoder={self}"
            )


def _is_of_others(gan_dir: pathlib.Path, fingerprint: Callable[[], str]) -> bool:
    path = gan_dir / ENCODER_FILE
    return path.exists() and path.read_text() != fingerprint()


def require_same_encoder(gan_checkpoint: pathlib.Path, fingerprint: str) -> None:
    """Checks that a GAN to go on from was trained on latents of the same encoders.

    Raises:
      ValueError: of others.
    """
    if _is_of_others(gan_checkpoint.parent, lambda: fingerprint):
        raise ValueError(
            f"{gan_checkpoint} was trained on latents of other encoders, which mean other sounds: "
            "encode with the autoencoder of its run, and name that with --autoencoder"
        )


def _require_same(names: Sequence[str], ours: Config, theirs: Config, source: Any) -> None:
    for name in names:
        a, b = getattr(ours, name), getattr(theirs, name)
        sections.require_equal(a, b, "the command line", str(source))


def _find_checkpoint(source: pathlib.Path, stage: str) -> pathlib.Path:
    """The checkpoint itself, or the newest of a folder of a stage, or of the stage of a run."""
    run = Run(source)
    path = source if source.is_file() else checkpoint.latest(source) or run.newest(stage)
    if path is None:
        there = ", ".join(run.trained_stages)
        raise ValueError(
            f"{source} has no checkpoint of {stage} to begin with: it "
            + (f"has {there}" if there else "is no run, stage or checkpoint")
        )
    return path


def _saved_flags(path: pathlib.Path) -> list[str]:
    """Flags as `--name=value`; of folders only the last part: the model is for giving away."""
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.partition("=") for line in lines if line.startswith("--"))
    return [name + equals + os.path.basename(value.rstrip("/")) for name, equals, value in pairs]
