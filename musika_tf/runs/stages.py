"""The five stages of a training, and what each needs from the one before."""

from __future__ import annotations

import dataclasses


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
