"""Flags of the programs that start a stage of a run."""

from __future__ import annotations

from flags import paths

RUN_DIR = paths.define(
    "run_dir", "Run folder of one system: its config and a folder a stage.", required=True
)
INIT_FROM = paths.define_model(
    "init_from",
    "Begin this stage of a new run with the weights of another run's same stage (or of any folder "
    "of a stage, or a checkpoint) instead of random ones: finetuning.",
)
