"""A trained run → a small folder to give away: weights in float16, config, origin, curves, a card.

The folder is a run folder: whatever takes a run takes it (`musika-generate --model_dir`,
`musika-export --run_dir`, `musika-encode --run_dir`, `--autoencoder`, `--init_from`). What only
going on with the same training needs is left out: optimizers, and the generator of which the
released one is the moving average.

    README.md                 the card
    config.json               the system
    adopted_autoencoder.json  steps and flags of the stages of the autoencoder
    curves.png                held-out figures against steps, of the stages that the run trained
    level2_phase2/            encoders, decoders, the spectral discriminator
    gan/                      generator, latent discriminator; not if the run has no GAN
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from musika_tf.training import checkpoint, curves, stages

CARD_FILE = "README.md"
CURVES_FILE = "curves.png"
# Whose average is released.
_LEFT_OUT = ("generator",)


def release(
    run_dir: str | os.PathLike,
    weights_dir: str | os.PathLike,
    card: str | os.PathLike | None = None,
    with_best: bool = False,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes the folder; whole or not at all.

    Args:
      run_dir: run with both levels of an autoencoder trained, and with a GAN or without.
      weights_dir: folder to write.
      card: Markdown file that the card begins with: data, licence, quality, faults.
      with_best: the GAN of the best held-out figure instead of the newest.
      overwrite: replace a folder that is there.

    Returns:
      `weights_dir`.

    Raises:
      ValueError: no run, a stage was not trained, or the folder is there already.
    """
    weights_dir = pathlib.Path(weights_dir)
    if weights_dir.exists() and not overwrite:
        raise ValueError(f"{weights_dir} is there already: --overwrite replaces it")
    stages.require_config(run_dir)
    words = pathlib.Path(card).read_text(encoding="utf-8") if card else f"# {weights_dir.name}\n"
    weights_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".releasing-", dir=weights_dir.parent) as folder:
        made = pathlib.Path(folder, "weights")
        made.mkdir()
        _copy_networks(run_dir, made, with_best)
        provenance = stages.training_provenance(run_dir, with_best)
        found = _curves(run_dir)
        if found:
            _draw(found).savefig(made / CURVES_FILE, dpi=80)
        facts = "\n".join(_facts(run_dir, provenance, found, made))
        (made / CARD_FILE).write_text(f"{words.rstrip()}\n\n{facts}\n", encoding="utf-8")
        if weights_dir.exists():
            shutil.rmtree(weights_dir)
        made.rename(weights_dir)
    return weights_dir


def _copy_networks(run_dir: str | os.PathLike, target: pathlib.Path, with_best: bool) -> None:
    """Checkpoints of the autoencoder and the GAN, and what says where they come from."""
    shutil.copyfile(pathlib.Path(run_dir, stages.CONFIG_FILE), target / stages.CONFIG_FILE)
    source = stages.autoencoder_checkpoint(run_dir)
    checkpoint.save_weights(source, target / source.parent.name)
    provenance = stages.training_provenance(run_dir, with_best)
    gan = provenance.pop("gan", None)
    text = json.dumps(provenance, indent=2)
    (target / stages.ADOPTED_FILE).write_text(text + "\n", encoding="utf-8")
    if gan:
        stages.require_encoder(run_dir)
        path = stages.checkpoint_of(run_dir, "gan", with_best)
        folder = target / "gan"
        checkpoint.save_weights(path, folder, left_out=_LEFT_OUT)
        # Rounded encoders are others, by their fingerprint.
        (folder / stages.ENCODER_FILE).write_text(stages.encoder_fingerprint(target))
        (folder / stages.FLAGS_FILE).write_text("".join(f"{flag}\n" for flag in gan["flags"]))


def _curves(run_dir: str | os.PathLike) -> dict[str, dict[str, curves.Curve]]:
    """Held-out curves of the stages whose logs are there."""
    found = {}
    for stage in stages.STAGES:
        every = curves.read(stages.stage_dir(run_dir, stage))
        held_out = {name: curve for name, curve in every.items() if name in _HELD_OUT}
        if held_out:
            found[stage] = held_out
    return found


# The figures that say how far a stage has come, and what they are called.
_HELD_OUT = {
    "held_out/log_magnitude_l1": "log-magnitude L1",
    "held_out/multi_scale": "multi-scale distance",
    "held_out/waveform_log_magnitude_l1": "log-magnitude L1 of the waveform",
    "held_out/frechet": "latent Fréchet distance",
}


def _draw(found: dict[str, dict[str, curves.Curve]]) -> Figure:
    figure = Figure(figsize=(4 * len(found), 3.2), layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (stage, held_out) in zip(axes, found.items(), strict=True):
        # One figure a stage: the one that it is about.
        name = "held_out/multi_scale" if stage.endswith("phase2") else min(held_out)
        panel.plot(held_out[name].steps, held_out[name].values, marker=".")
        panel.set(title=stage, xlabel="step", ylabel=f"{_HELD_OUT[name]}, held out")
        if stage == "gan":
            panel.set_yscale("log")
        panel.grid(alpha=0.3)
    return figure


def _facts(
    run_dir: str | os.PathLike,
    provenance: dict[str, Any],
    found: dict[str, dict[str, curves.Curve]],
    made: pathlib.Path,
) -> Iterator[str]:
    """What is known of the training without being told."""
    yield "## Training"
    yield ""
    yield "| stage | steps | minutes | held out, last |"
    yield "| --- | ---: | ---: | --- |"
    for stage, origin in provenance.items():
        minutes = curves.duration_seconds(stages.stage_dir(run_dir, stage)) / 60.0
        figures = ", ".join(
            f"{_HELD_OUT[name]} {curve.values[-1]:.3g}"
            for name, curve in found.get(stage, {}).items()
        )
        logged = f"{minutes:.0f}" if minutes else "–"
        yield f"| {stage} | {origin['step']} | {logged} | {figures or '–'} |"
    yield ""
    if found:
        yield f"![held-out figures against steps]({CURVES_FILE})"
        yield ""
    n_bytes = sum(path.stat().st_size for path in made.rglob("*.safetensors"))
    yield f"Weights in float16, {n_bytes / 1e6:.1f} MB; the system is in `{stages.CONFIG_FILE}`."
