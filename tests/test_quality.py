"""Quality: measurements against what is known of the signals, and the program on a random run."""

from __future__ import annotations

import json

import keras
import matplotlib.image
import numpy as np
import processes
import pytest
import soundfile
import tensorflow as tf
from random_model import save_networks, save_random_run, write_waveforms

from musika_tf.data.latent_labels import AudioLabels
from musika_tf.evaluation import diagnostics, music, quality, quality_report, reconstruction
from musika_tf.generation import Request
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.runs.run import Run
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training_config import TrainingConfig

RATE_HZ = 22_050


def seconds_of(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


# Waveforms


def test_a_sine_measures_as_it_should():
    """1 kHz at half of full scale on the left, the opposite on the right, then silence."""
    sine = 0.5 * np.sin(2 * np.pi * 1000 * seconds_of(3.0))
    sine = np.concatenate([sine, np.zeros(3 * RATE_HZ)])
    metrics = music.waveform_metrics(np.stack([sine, -sine], 1).astype(np.float32), RATE_HZ)
    # Half of full scale, a sine's own factor, half of the time.
    assert metrics["rms_dbfs"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2) / np.sqrt(2)))
    assert metrics["peak"] == pytest.approx(0.5, abs=1e-3)
    assert metrics["clipped_share"] == 0.0
    assert metrics["silent_share"] == pytest.approx(0.5)
    # Silence, which has no spectrum, does not pull the means down.
    assert metrics["spectral_centroid_hz"] == pytest.approx(1000, rel=0.03)
    assert metrics["rolloff_hz"] == pytest.approx(1000, abs=3 * RATE_HZ / 2048)
    assert metrics["spectral_flatness"] < 1e-3
    assert metrics["channel_correlation"] == pytest.approx(-1.0)
    assert metrics["band_1000_db"] == pytest.approx(0.0, abs=0.01)
    assert max(metrics["band_63_db"], metrics["band_8000_db"]) < -50


def test_noise_fills_bands_by_their_width_and_clips():
    noise = np.random.default_rng(0).normal(size=(5 * RATE_HZ, 2)).astype(np.float32)
    clipped = np.clip(noise, -1.0, 1.0)
    metrics = music.waveform_metrics(clipped, RATE_HZ)
    # Beyond one standard deviation.
    assert metrics["clipped_share"] == pytest.approx(0.3173, abs=0.005)
    assert abs(metrics["channel_correlation"]) < 0.02
    # Of white noise the mean of all frequencies, and each band's share of them.
    assert metrics["spectral_centroid_hz"] == pytest.approx(RATE_HZ / 4, rel=0.02)
    assert metrics["rolloff_hz"] == pytest.approx(0.85 * RATE_HZ / 2, rel=0.02)
    for centre_hz in (500, 4000):
        share = centre_hz * (np.sqrt(2) - np.sqrt(0.5)) / (RATE_HZ / 2)
        wanted = 10 * np.log10(share)
        assert metrics[music.band_name(centre_hz)] == pytest.approx(wanted, abs=0.3)
    assert metrics["tempo_strength"] < 0.3


def test_clicks_have_their_rate_and_tempo():
    """A click every half second: 120 BPM."""
    waveform = np.zeros((12 * RATE_HZ, 2), np.float32)
    click = 0.5 * np.random.default_rng(0).normal(size=(400, 2))
    for begin in range(RATE_HZ // 4, len(waveform) - 400, RATE_HZ // 2):
        waveform[begin : begin + 400] = click
    metrics = music.waveform_metrics(waveform, RATE_HZ)
    assert metrics["onsets_per_second"] == pytest.approx(2.0, abs=0.01)
    assert metrics["tempo_bpm"] == pytest.approx(120.0, rel=0.02)
    assert 0.8 < metrics["tempo_strength"] <= 1.0


def test_silence_has_finite_metrics():
    metrics = music.waveform_metrics(np.zeros((2 * RATE_HZ, 2), np.float32), RATE_HZ)
    assert np.isfinite(list(metrics.values())).all()
    assert metrics["rms_dbfs"] == music.LEAST_DB and metrics["silent_share"] == 1.0
    assert metrics["onsets_per_second"] == metrics["tempo_bpm"] == metrics["tempo_strength"] == 0.0


# Latents and seams


def test_windows_of_latents():
    latents = np.random.default_rng(0).normal(size=(2, 7, 3))
    means = music.window_means(latents, 3)
    np.testing.assert_allclose(means[3], latents[1, 3:6].mean(axis=0))
    assert means.shape == (4, 3)


@pytest.mark.parametrize("planted", ["excerpt_ratio", "patch_ratio"])
def test_planted_seams_of_latents_are_found(tiny_config, planted):
    """Steps of 1 everywhere, of 3 where excerpts or patches meet."""
    excerpt, patch = tiny_config.excerpt_n_latents, tiny_config.gan.seq_len
    steps = np.arange(1, 3 * patch)
    is_patch = steps % patch == 0
    is_planted = is_patch if planted == "patch_ratio" else (steps % excerpt == 0) & ~is_patch
    line = np.cumsum(np.concatenate([[0.0], np.where(is_planted, 3.0, 1.0)]))
    latents = np.stack([line, -line], axis=1)[None]
    ratios = music.Grid.of_latents(tiny_config).ratios(music.latent_changes(latents))
    assert ratios == {"excerpt_ratio": 1.0, "patch_ratio": 1.0} | {planted: 3.0}


@pytest.mark.parametrize("first", [0, 3])
def test_a_planted_seam_of_a_waveform_is_found(tiny_config, first):
    """A tone that changes its pitch where patches meet, once."""
    audio = tiny_config.audio
    border = tiny_config.patch_n_samples - first * audio.hop_size + audio.overlap_size // 2
    times = seconds_of(2 * tiny_config.patch_n_samples / RATE_HZ)
    tones = [np.sin(2 * np.pi * hz * times) for hz in (440.0, 660.0)]
    noise = 1e-3 * np.random.default_rng(0).normal(size=len(times))
    tone = np.where(np.arange(len(times)) < border, *tones) + noise
    flux = music.spectral_flux(tone[:, None].astype(np.float32), audio)[None]
    ratios = music.Grid.of_frames(tiny_config).ratios(flux, first)
    assert ratios["patch_ratio"] > 1.3
    assert ratios["excerpt_ratio"] == pytest.approx(1.0, abs=0.05)
    # All of the change is inside what counts as the border.
    n_frames = tiny_config.patch_n_samples // audio.hop_size
    reach = audio.overlap_size // audio.hop_size
    inside = slice(n_frames - first - 1 - reach, n_frames - first + reach)
    assert reach * 2 + 1 == len(flux[0, inside])
    assert np.delete(flux[0], inside).max() < flux[0, inside].max() / 2


def test_no_border_no_ratio(tiny_config):
    changes = np.ones((1, tiny_config.gan.seq_len - 1))
    ratios = music.Grid.of_latents(tiny_config).ratios(changes)
    assert ratios == {"excerpt_ratio": 1.0, "patch_ratio": None}


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
    system = quality.load(Run(run_dir), data_dir, Request(seconds=6.0, seed=4, n_samples=1))
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
    copied = latents | {"generated": latents["training"]}
    nearest = quality._nearest(copied, 5)
    assert nearest["generated"].mean < 1e-6 < nearest["held-out"].least


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
