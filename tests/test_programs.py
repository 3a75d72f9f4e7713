"""Every program from the command line, one after the other: audio files in, music out."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import processes
import pytest
import safetensors.numpy

from musika_tf import audio
from musika_tf.data.shards import Shards
from musika_tf.runs import checkpoint

pytestmark = pytest.mark.slow

PRESET = "--preset=tiny"
STAGES = ("level1_phase1", "level1_phase2", "level2_phase1", "level2_phase2", "gan")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> pathlib.Path:
    """Everything that the chain of programs leaves behind."""
    home = tmp_path_factory.mktemp("chain")
    run, data, latents = f"--run_dir={home}/run", f"--data_dir={home}/data", f"{home}/latents"
    processes.run_plain("prepare", PRESET, "--audio_dir=tests/data/piano", data)
    train = ("train_autoencoder", PRESET, run, data, "--n_steps_per_call=2")
    processes.run_plain(*train, "--level=1", "--phase=1")
    for level, phase in ((1, 2), (2, 1), (2, 2)):
        processes.run(*train, f"--level={level}", f"--phase={phase}")
    processes.run_plain("encode", run, data, f"--latent_dir={latents}")
    processes.run_plain("train_gan", PRESET, run, f"--latent_dir={latents}")
    processes.run_plain("export", run, f"--model_dir={home}/model", "--noverify")
    return home


def test_every_stage_leaves_checkpoint_flags_and_logs(home):
    for stage in STAGES:
        folder = home / "run" / stage
        assert checkpoint.latest(folder).name == "checkpoint-00000004.safetensors"
        assert "--learning_rate=0.0001" in (folder / "flags.txt").read_text()
        assert list((folder / "logs").glob("events.*"))


def test_latents_match_the_audio(home, tiny_config):
    waveforms, latents = Shards.open(home / "data"), Shards.open(home / "latents")
    assert [s.name for s in waveforms.sources] == [s.name for s in latents.sources]
    assert latents.n_channels == tiny_config.stereo_latent_depth
    for source, encoded in zip(waveforms.sources, latents.sources, strict=True):
        assert 0 <= encoded.n_rows * tiny_config.latent_hop_size - source.n_rows < 2 * 16_384


def test_generate_twice_gives_the_same_music(home):
    for name in ("a.wav", "b.wav"):
        words = (f"--model_dir={home}/model", "--seconds=7.5", "--seed=3", f"--out={home}/{name}")
        shown = processes.run("generate", *words, "--picture")
        assert "dBFS" in shown.stdout
    assert (home / "a.wav").read_bytes() == (home / "b.wav").read_bytes()
    music = audio.read(home / "a.wav")
    assert music.samples.shape == (round(7.5 * 22_050), 2)
    assert music.sample_rate_hz == 22_050
    assert np.sqrt(np.mean(music.samples**2)) > 1e-4
    assert (home / "a.png").stat().st_size > 10_000


def test_metadata_tells_where_the_model_comes_from(home):
    metadata = json.loads((home / "model" / "1" / "metadata.json").read_text())
    assert [metadata["training"][stage]["step"] for stage in STAGES] == [4] * 5
    assert metadata["sample_rate_hz"] == 22_050


def test_latents_decode_to_files_as_long_as_they_were(home):
    words = (f"--run_dir={home}/run", f"--latent_dir={home}/latents", f"--out_dir={home}/decoded")
    processes.run("encode", "--decode", *words)
    for source in Shards.open(home / "data").sources:
        decoded = audio.read(home / "decoded" / f"{source.name}.wav")
        assert decoded.n_samples == source.n_rows


def test_a_finished_stage_is_not_trained_again_and_more_steps_go_on(home):
    words = (f"--run_dir={home}/run", f"--latent_dir={home}/latents")
    processes.run("train_gan", PRESET, *words, "--n_steps=6")
    assert checkpoint.latest(home / "run" / "gan").name == "checkpoint-00000006.safetensors"


@pytest.mark.parametrize(
    ("stage", "data", "shards"),
    [("level2_phase1", "data_dir", "data"), ("gan", "latent_dir", "latents")],
)
def test_a_stage_is_lowered_where_it_stands(home, stage, data, shards):
    folder = home / f"lowered_{stage}"
    words = (f"--run_dir={home}/run", f"--{data}={home}/{shards}", f"--lowered_dir={folder}")
    processes.run("lower", PRESET, f"--stage={stage}", *words)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["stage"] == stage
    newest = checkpoint.latest(home / "run" / stage)
    state = safetensors.numpy.load_file(folder / "state.safetensors")
    assert state["state/step"] == checkpoint.step_of(newest)


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ("train_gan", "--run_dir={home}/new", "--latent_dir={home}/latents"),
            "--level=1 --phase=1",
        ),
        (
            ("encode", "--run_dir={home}/none", "--data_dir={home}/data", "--latent_dir=x"),
            "run folder",
        ),
        (("train_gan", "--run_dir={home}/run", "--latent_dir={home}/data"), "musika-encode"),
        (
            ("train_gan", "--run_dir={home}/run", "--latent_dir={home}/latents", "--seq_len=32"),
            "32",
        ),
        (("generate", "--model_dir={home}/none", "--out={home}/x.wav"), "musika-export"),
        (("export", "--run_dir={home}/run", "--model_dir={home}/m", "stray"), "stray"),
    ],
)
def test_mistakes_end_with_one_clear_line(home, words, message):
    name, *rest = (word.format(home=home) for word in words)
    done = processes.run(name, *rest, ok=False)
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
