"""Quality of a run: reconstruction, diagnostics, and the program on random weights."""

from __future__ import annotations

import json

import keras
import matplotlib.image
import numpy as np
import processes
import pytest
import soundfile
import tensorflow as tf
from random_model import RATE_HZ, save_networks, save_random_run, write_waveforms

from musika_tf.data.latent_labels import AudioLabels
from musika_tf.evaluation import diagnostics, quality, quality_report, reconstruction
from musika_tf.generation import Request
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.runs.run import Run
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training_config import TrainingConfig

# Reconstruction


class Lossless(Autoencoder):
    """Gives back the spectrum that it was last shown."""

    def stft(self, waveforms):
        self.shown = super().stft(waveforms)
        return self.shown

    def decode1(self, level1_latents):
        log_magnitudes = reconstruction.spectral.log_magnitude(self.shown)
        return log_magnitudes, self.directions(self.shown)


def test_reconstruction_has_the_metrics_of_training(
    tiny_config, tiny_training, tmp_path, monkeypatch
):
    monkeypatch.setattr(reconstruction, "CROP_N_EXCERPTS", 2)
    shards = write_waveforms(tmp_path / "data", (3.5, 1.0))
    lossless, random = Lossless(tiny_config), Autoencoder(tiny_config)
    found = reconstruction.measure(lossless, random, shards)
    for name in ("level 1", "both levels"):
        assert found[name].multi_scale < -40
        assert found[name].waveform_log_magnitude_l1 < 1e-3
        assert found[name].decoder_log_magnitude_l1 == 0.0
    ceiling, chance = (
        found[f"true magnitudes, {phases}"] for phases in ("phases by Griffin-Lim", "random phases")
    )
    assert -40 < ceiling.multi_scale < chance.multi_scale
    # Here these are the true magnitudes.
    lent = found["both levels, phases by Griffin-Lim"]
    assert lent.multi_scale == pytest.approx(ceiling.multi_scale, abs=0.05)
    assert ceiling.decoder_log_magnitude_l1 is None
    # What training tells about the same networks and the same crops, of two excerpts here.
    crops = reconstruction.held_out_crops(shards, tiny_config.audio)
    assert crops.shape == (2, tiny_config.audio.pair_n_samples)
    trainer = AutoencoderTrainer(
        config=tiny_config, training=tiny_training, level=2, phase=2, held_out=crops
    )
    networks = trainer.autoencoder.networks
    for name, network in random.networks.items():
        networks[name].set_weights(network.get_weights())
    found = reconstruction.measure(random, lossless, shards)["both levels"]
    metrics = trainer.validate()
    for name in ("multi_scale", "waveform_log_magnitude_l1"):
        assert getattr(found, name) == pytest.approx(metrics[f"held_out/{name}"], rel=1e-4)
    # Training compares level 2 with what level 1 makes of its own latents; this, with the truth.
    assert found.decoder_log_magnitude_l1 > metrics["held_out/log_magnitude_l1"]


# A run


@pytest.fixture(scope="module")
def run_and_data(conditional_config, tmp_path_factory):
    """A conditional run with random weights, and shards."""
    folder = tmp_path_factory.mktemp("quality")
    keras.utils.set_random_seed(0)
    save_random_run(folder / "run", conditional_config)
    return folder / "run", folder / "data", write_waveforms(folder / "data")


def test_pieces_and_latents_are_what_they_are_called(run_and_data, monkeypatch):
    run_dir, data_dir, shards = run_and_data
    monkeypatch.setattr(quality, "N_LATENT_PIECES", 3)
    system = quality.load(Run(run_dir), data_dir, Request(seconds=6.0, seed=4, n_pieces=1))
    config = system.config
    pieces = {piece.name: piece.waveform for piece in quality.make_pieces(system)}
    assert list(pieces) == ["generated-0", "reconstructed-0", "real-0", "untrained-0"]
    assert {waveform.shape for waveform in pieces.values()} == {(6 * RATE_HZ, 2)}
    real = shards.fixed_crops(1, 6 * RATE_HZ)[0] / 32_768
    np.testing.assert_array_equal(pieces["real-0"], real.astype(np.float32))
    np.testing.assert_array_equal(
        pieces["reconstructed-0"],
        system.codec.decode(system.codec.encode(pieces["real-0"]), 6 * RATE_HZ),
    )
    two, constants = tf.constant([2.0]), tf.constant([[0.5, 140.0]])
    waveform, _ = system.trained.generate(tf.constant([[4, 0]]), tf.constant([6.0]), two, constants)
    np.testing.assert_allclose(pieces["generated-0"], waveform[0], atol=1e-5)
    assert np.abs(pieces["untrained-0"] - pieces["generated-0"]).max() > 1e-3
    latents = quality._latents(system)
    seed, seconds = tf.constant([[4, 2]]), tf.constant([5.9])
    piece, _ = system.trained.generate_latents(seed, seconds, two, constants)
    assert latents["generated"].shape == (3, *piece.shape[1:]) == (3, 2 * config.gan.seq_len, 32)
    np.testing.assert_allclose(latents["generated"][2], piece[0], atol=1e-5)
    # Of the held-out source as many whole excerpts as it has, from its middle.
    n_excerpts = (7 * RATE_HZ - config.audio.overlap_size) // config.audio.excerpt_n_samples
    n_steps = n_excerpts * config.excerpt_n_latents
    assert latents["held-out"].shape == (1, n_steps, 32)
    ((source, row),) = shards.fixed_positions(1, n_steps * 4096 + config.audio.overlap_size)
    # The codec puts zeros before a file, which only the first latent sees.
    rows = shards.rows(source)[row + config.audio.overlap_size :].astype(np.float32) / 32_768
    encoded = system.codec.encode(rows)
    np.testing.assert_allclose(latents["held-out"][0, 1:], encoded[1:n_steps], atol=1e-4)
    # What was copied from training is found.
    copied, held_out = (
        quality.nearest(latents[name], latents["training"], 5) for name in ("training", "held-out")
    )
    assert copied["mean"] < 1e-6 < held_out["least"]


@pytest.fixture(scope="module")
def judged_run(conditional_config, tmp_path_factory):
    """A run with all networks of the GAN, the trainer that made it, and labelled shards."""
    folder = tmp_path_factory.mktemp("judged")
    keras.utils.set_random_seed(0)
    shards = write_waveforms(folder / "data")
    times = "".join(f"0.wav,{time},{120 + 5 * time}\n" for time in (0, 7))
    (folder / "data" / "labels-tempo_bpm.csv").write_text(f"file,time_seconds,value\n{times}")
    (folder / "data" / "labels-note_density.csv").write_text("file,time_seconds\n0.wav,2.0\n")
    source, row = shards.fixed_positions(1, 6 * RATE_HZ)[0]
    positions = [(source, row), (source, row + 999)]
    held_out = np.tanh(np.random.default_rng(0).normal(size=(2, 40, 32))).astype(np.float32)
    n_steps = 2 * conditional_config.gan.seq_len
    sources, scale = [source], conditional_config.conditioning.max_onsets_per_second
    labels = AudioLabels(folder / "data", sources, conditional_config, scale)
    conditioning = labels.crops(positions, n_steps)
    trainer = GanTrainer(
        config=conditional_config,
        training=TrainingConfig(seed=0),
        held_out=held_out[:, :n_steps],
        held_out_conditioning=conditioning,
    )
    save_random_run(folder / "run", conditional_config)
    save_networks(folder / "run", "gan", 10, trainer.networks)
    return folder, positions, held_out, conditioning, trainer


def test_diagnostics_are_those_of_training(judged_run):
    folder, positions, held_out, _, trainer = judged_run
    found = diagnostics.measure(Run(folder / "run"), folder / "data", positions, held_out)
    wanted = trainer.validate()
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_labels_are_those_of_the_time_of_each_latent(judged_run, conditional_config):
    _, ((_, row), _), _, conditioning, _ = judged_run
    context, audio = conditional_config.gan.context_n_steps, conditional_config.audio
    # The middle of what the first latent of the window sees, and of its last one.
    hop, n_steps = conditional_config.latent_hop_size, 2 * conditional_config.gan.seq_len
    steps = np.arange(-context, n_steps + context)
    times = (row + hop * steps + (hop + audio.overlap_size) / 2) / RATE_HZ
    # The tempo is one of the piece; around the onset the density is greatest.
    tempo = np.interp(times, [0, 7], [120, 155]).mean()
    np.testing.assert_allclose(conditioning[0, :, 1], tempo, rtol=1e-5)
    assert conditioning[0, :, 0].argmax() == np.abs(times - 2.0).argmin()
    assert conditioning.shape == (2, n_steps + 2 * context, 2)


def test_what_is_short_or_not_labelled_is_not_judged(judged_run, run_and_data):
    folder, positions, held_out, *_ = judged_run
    run = Run(folder / "run")
    assert diagnostics.measure(run, folder / "data", positions, held_out[:, :31]) is None
    assert diagnostics.measure(run, run_and_data[1], positions, held_out) is None


def numbers_in(values) -> list[float]:
    if isinstance(values, dict):
        return [number for value in values.values() for number in numbers_in(value)]
    return [] if isinstance(values, str) else [values]


@pytest.mark.slow
def test_program(run_and_data, tmp_path):
    run_dir, data_dir, _ = run_and_data
    words = ("--quality", f"--run_dir={run_dir}", f"--data_dir={data_dir}", f"--out={tmp_path}/out")
    done = processes.run("evaluate", *words, "--seconds=6", "--num_samples=1", "--seed=3")
    for title in ("reconstruction", "music", "generating latents", "encoding the train split"):
        assert f"{title}: 100%" in done.stderr
    out = tmp_path / "out"
    text = (out / "quality.md").read_text()
    assert done.stdout == text + "\n"
    assert sorted(path.name for path in out.iterdir()) == ["quality", "quality.json", "quality.md"]
    kept = ("generated-0", "reconstructed-0", "real-0")
    names = {path.name for path in (out / "quality").iterdir()}
    assert names == {f"{name}.{suffix}" for name in kept for suffix in ("wav", "png")}
    for name in kept:
        info = soundfile.info(out / "quality" / f"{name}.wav")
        assert (info.frames, info.channels, info.samplerate) == (6 * RATE_HZ, 2, RATE_HZ)
        picture = matplotlib.image.imread(out / "quality" / f"{name}.png")
        assert picture[..., :3].std() > 0.02
        assert f"(quality/{name}.png)" in text
    values = json.loads((out / "quality.json").read_text())
    assert values["run"]["steps"] == {"level2_phase2": 7, "gan": 9}
    assert values["conditioning"] == {"note_density": 0.5, "tempo_bpm": 140.0}
    assert "The conditioning was tempo_bpm 140, the middle of its range." in text
    for part in ("pieces", "waveform_seams", "latent_seams", "frechet", "nearest"):
        assert values[part]
        assert np.isfinite(numbers_in(values[part])).all()
    ratio = values["frechet"]["generated"]["windows"] / values["frechet"]["training"]["windows"]
    assert values["frechet_ratios"]["windows"] == pytest.approx(ratio)
    assert f"| generated / training | {ratio:.3f} |" in text
    # These shards have no labels.
    assert values["diagnostics"] is None
    assert "Not told: held-out crops are shorter than two patches, or nothing labels" in text
    assert list(values["pieces"]) == list(quality.KINDS)
    assert len(values["reconstruction"]) == 9
    # The tables show the numbers.
    real = values["pieces"]["real"]
    start = f"| real | {real['rms_dbfs']:.1f} | {real['peak']:.2f} |"
    assert start in text
    both = values["reconstruction"]["both levels"]
    assert f"| both levels | {both['multi_scale']:.3f} |" in text
    with pytest.raises(ValueError, match="has quality.md, quality.json, quality already: "):
        quality_report.evaluate(Run(run_dir), data_dir, Request(), out)


def test_what_is_too_short_is_named(run_and_data):
    run_dir, data_dir, _ = run_and_data
    with pytest.raises(ValueError, match="seconds=5 is too short .* give at least 5.9"):
        quality.load(Run(run_dir), data_dir, Request(seconds=5.0))
    with pytest.raises(ValueError, match="no validation source is long enough"):
        quality.load(Run(run_dir), data_dir, Request(seconds=30.0))


def test_missing_flags_are_named(tmp_path):
    done = processes.run("evaluate", f"--out={tmp_path}/out", "--adherence", "--quality", ok=False)
    assert done.stderr.splitlines()[-1] == (
        "error: --adherence needs --model_dir; --quality needs --run_dir and --data_dir"
    )
    assert not (tmp_path / "out").exists()
