"""A trained run → a small folder to give away: weights in float16, config, origin, curves, a card.

The folder is a run folder: whatever takes a run takes it (`musika-generate --model_dir`,
`musika-export --run_dir`, `musika-encode --run_dir`, `--autoencoder`, `--init_from`). What only
going on with the same training needs is left out: optimizers, and the generator and the decoder of
which the released ones are the moving averages.

    README.md                 the card
    config.json               the system
    adopted_autoencoder.json  steps and flags of the stages of the autoencoder
    curves.png                held-out metrics against steps, of the stages that the run trained
    level2_phase2/            encoders, decoders, the spectral discriminator
    gan/                      generator, latent discriminator; not if the run has no GAN
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from musika_tf import files
from musika_tf.runs import checkpoint, curves
from musika_tf.runs.run import ADOPTED_FILE, CONFIG_FILE, FLAGS_FILE, Run
from musika_tf.runs.stages import STAGES

CARD_FILE = "README.md"
CURVES_FILE = "curves.png"
# Below it stands what is known without being asked; above it, what people say.
_FACTS_HEADING = "## Training\n"
# Whose averages are released.
_LEFT_OUT = ("generator", "decoder2_learning")
# The metrics that say how far a stage has come, and what they are called.
_HELD_OUT = {
    "held_out/log_magnitude_l1": "log-magnitude L1",
    "held_out/multi_scale": "multi-scale distance",
    "held_out/waveform_log_magnitude_l1": "log-magnitude L1 of the waveform",
    "held_out/window_frechet": "Fréchet distance of windows of latents",
    "held_out/frechet": "latent Fréchet distance",
}
_Curves = dict[str, dict[str, curves.Curve]]  # by stage and name


def release(
    run: Run,
    weights_dir: str | os.PathLike,
    card: str | os.PathLike | None = None,
    with_best: bool = False,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes `weights_dir`, whole or not at all, and returns it.

    Args:
      run: with both levels of an autoencoder trained, and with a GAN or without.
      card: Markdown file that the card begins with: data, licence, quality, faults.
      with_best: the GAN of the best held-out metric instead of the newest.
      overwrite: replace a folder that is there.

    Raises:
      ValueError: no run, a stage was not trained, or the folder is there already.
    """
    weights_dir = pathlib.Path(weights_dir)
    if weights_dir.exists() and not overwrite:
        raise ValueError(f"{weights_dir} is there already: --overwrite replaces it")
    words = pathlib.Path(card).read_text(encoding="utf-8") if card else f"# {weights_dir.name}\n"
    with files.written_aside(weights_dir) as made:
        made.mkdir()
        provenance = run.provenance(with_best)
        _copy_networks(run, Run(made), provenance, with_best)
        if found := _curves(run):
            _draw(found).savefig(made / CURVES_FILE, dpi=80)
        facts = "\n".join(_facts(run, provenance, found, made))
        (made / CARD_FILE).write_text(f"{words.rstrip()}\n\n{facts}\n", encoding="utf-8")
    return weights_dir


def add_to_card(weights_dir: pathlib.Path, words: str) -> None:
    """Puts Markdown into the card of released weights, after the words that it begins with."""
    card = weights_dir / CARD_FILE
    before, heading, facts = card.read_text(encoding="utf-8").rpartition(_FACTS_HEADING)
    files.write_text(card, f"{before}{words}\n\n{heading}{facts}")


def _copy_networks(run: Run, made: Run, provenance: dict[str, Any], with_best: bool) -> None:
    """Checkpoints of the autoencoder and the GAN, and what says where they come from."""
    (made.folder / CONFIG_FILE).write_text(run.config.to_json(), encoding="utf-8")
    source = run.autoencoder_checkpoint
    checkpoint.save_weights(source, made.stage_dir(source.parent.name), left_out=_LEFT_OUT)
    of_autoencoder = {stage: origin for stage, origin in provenance.items() if stage != "gan"}
    text = json.dumps(of_autoencoder, indent=2) + "\n"
    (made.folder / ADOPTED_FILE).write_text(text, encoding="utf-8")
    if "gan" in provenance:
        run.require_encoder()
        path, folder = run.checkpoint("gan", with_best), made.stage_dir("gan")
        checkpoint.save_weights(path, folder, left_out=_LEFT_OUT)
        # Rounded encoders are others, by their fingerprint.
        made.keep_encoder(made.encoder_fingerprint())
        flags_text = "".join(f"{flag}\n" for flag in provenance["gan"]["flags"])
        (folder / FLAGS_FILE).write_text(flags_text)


def _curves(run: Run) -> _Curves:
    """Held-out curves of the stages whose logs are there."""
    found = {}
    for stage in STAGES:
        every = curves.read(run.stage_dir(stage)).items()
        if held_out := {name: curve for name, curve in every if name in _HELD_OUT}:
            found[stage] = held_out
    return found


def _draw(found: _Curves) -> Figure:
    picture = Figure(figsize=(4 * len(found), 3.2), layout="constrained")
    axes = picture.subplots(1, len(found), squeeze=False)[0]
    for panel, (stage, held_out) in zip(axes, found.items(), strict=True):
        # One metric a stage: the one that it is about.
        name = "held_out/multi_scale" if stage.endswith("phase2") else min(held_out)
        panel.plot(held_out[name].steps, held_out[name].values, marker=".")
        panel.set(title=stage, xlabel="step", ylabel=f"{_HELD_OUT[name]}, held out")
        if stage == "gan":
            panel.set_yscale("log")
        panel.grid(alpha=0.3)
    return picture


def _facts(
    run: Run, provenance: dict[str, Any], found: _Curves, made: pathlib.Path
) -> Iterator[str]:
    """What is known of the training without being asked."""
    yield _FACTS_HEADING
    yield "| stage | steps | minutes | held out, last |\n| --- | ---: | ---: | --- |"
    for stage, origin in provenance.items():
        minutes = curves.duration_seconds(run.stage_dir(stage)) / 60.0
        metrics = ", ".join(
            f"{_HELD_OUT[name]} {curve.values[-1]:.3g}"
            for name, curve in found.get(stage, {}).items()
        )
        logged = f"{minutes:.0f}" if minutes else "–"
        yield f"| {stage} | {origin['step']} | {logged} | {metrics or '–'} |"
    yield ""
    if found:
        yield f"![held-out metrics against steps]({CURVES_FILE})\n"
    n_bytes = sum(path.stat().st_size for path in made.rglob("*.safetensors"))
    yield f"Weights in float16, {n_bytes / 1e6:.1f} MB; the system is in `{CONFIG_FILE}`."
