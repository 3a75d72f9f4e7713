"""Stages of a run: order, what is missing, config checks."""

import dataclasses
import shutil

import numpy as np
import pytest
from comparing import require_same

from musika_tf import audio
from musika_tf.data import datasets, encoding
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.shards import Shards
from musika_tf.runs import checkpoint, release
from musika_tf.runs.run import ENCODER_FILE, Run
from musika_tf.training import stage
from musika_tf.training.loop import LoopSettings

pytestmark = pytest.mark.usefixtures("no_samples")


@pytest.fixture
def data_dir(tmp_path, tiny_config):
    return write_data(tmp_path, tiny_config)


def write_data(folder, tiny_config):
    rng = np.random.default_rng(0)
    metadata = datasets.waveform_metadata(tiny_config.audio)
    with ShardWriter(folder / "data", 2, np.int16, metadata) as writer:
        for split in ("train", "validation"):
            samples = audio.to_int16(rng.normal(size=(200_000, 2)) * 0.1)
            writer.add(f"{split}.wav", samples, split)
    return folder / "data"


def train(tmp_path, data_dir, config, training, level, phase, n_steps=2, run="run", init_from=None):
    started = stage.start_autoencoder(
        run=Run(tmp_path / run),
        data_dir=data_dir,
        config=config,
        training=training,
        level=level,
        phase=phase,
        n_steps=n_steps,
        init_from=init_from,
    )
    return started.train(LoopSettings(n_steps=n_steps))


def arrays(tmp_path, name, network):
    path = Run(tmp_path / "run").checkpoint(name)
    found = checkpoint._read(path)
    return {k: v for k, v in found.items() if k.startswith(f"networks/{network}/")}


def test_every_stage_needs_the_one_before(tmp_path, data_dir, tiny_config, tiny_training):
    args = tmp_path, data_dir, tiny_config, tiny_training
    for level, phase, command in (
        (1, 2, "--level=1 --phase=1"),
        (2, 1, "--level=1 --phase=2"),
        (2, 2, "--level=2 --phase=1"),
    ):
        message = f"holds no checkpoint.*musika-train-autoencoder {command}"
        with pytest.raises(ValueError, match=message):
            train(*args, level, phase)
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_config(tmp_path, data_dir, tiny_config, tiny_training):
    train(tmp_path, data_dir, tiny_config, tiny_training, 1, 1)
    assert Run(tmp_path / "run").saved_config == tiny_config
    assert Run(tmp_path / "run").saved_training == tiny_training
    gan = dataclasses.replace(tiny_config.gan, style_depth=8)
    changed = dataclasses.replace(tiny_config, gan=gan)
    with pytest.raises(ValueError, match="gan.style_depth is 8 in the command line and 16 in"):
        train(tmp_path, data_dir, changed, tiny_training, 1, 1)


def test_learning_rate_of_the_command_holds_after_a_resume(
    tmp_path, data_dir, tiny_config, tiny_training
):
    train(tmp_path, data_dir, tiny_config, tiny_training, 1, 1)
    before = arrays(tmp_path, "level1_phase1", "encoder1")
    frozen = dataclasses.replace(tiny_training, learning_rate=1e-30)
    train(tmp_path, data_dir, tiny_config, frozen, 1, 1, n_steps=4)
    after = arrays(tmp_path, "level1_phase1", "encoder1")
    require_same(after, before)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory, tiny_config, tiny_training):
    """A folder with a run without level2_phase2, and with latents that it made."""
    folder = tmp_path_factory.mktemp("trained")
    data_dir = write_data(folder, tiny_config)
    for level, phase in ((1, 1), (1, 2), (2, 1)):
        train(folder, data_dir, tiny_config, tiny_training, level, phase)
    encoding.encode_shards(Run(folder / "run"), data_dir, folder / "latents")
    train_gan(folder / "run", folder / "latents", tiny_config, tiny_training)
    return folder


@pytest.fixture
def trained(tmp_path, trained_once):
    """The run, copied with its latents to where it can be changed."""
    for name in ("run", "latents"):
        shutil.copytree(trained_once / name, tmp_path / name)
    return tmp_path / "run"


def train_gan(
    run_dir, latent_dir, config, training, autoencoder_dir=None, n_steps=1, init_from=None
):
    started = stage.start_gan(
        run=Run(run_dir),
        latent_dir=latent_dir,
        config=config,
        training=training,
        n_steps=n_steps,
        adopted=Run(autoencoder_dir) if autoencoder_dir else None,
        init_from=init_from,
    )
    return started.train(LoopSettings(n_steps=n_steps))


@pytest.mark.slow
def test_weights_go_from_stage_to_stage(tmp_path, data_dir, trained, tiny_config, tiny_training):
    assert train(tmp_path, data_dir, tiny_config, tiny_training, 2, 2) == 2

    def same(network, one, other):
        a, b = arrays(tmp_path, one, network), arrays(tmp_path, other, network)
        assert a and a.keys() == b.keys()
        return all(np.array_equal(a[name], b[name]) for name in a)

    # The encoders stay as phase 1 left them, level 1 as its phase 2 left it: to the last bit.
    assert same("encoder1", "level1_phase1", "level1_phase2")
    assert not same("decoder1", "level1_phase1", "level1_phase2")
    for network in ("encoder1", "decoder1"):
        assert same(network, "level1_phase2", "level2_phase1")
        assert same(network, "level1_phase2", "level2_phase2")
    assert same("encoder2", "level2_phase1", "level2_phase2")
    assert not same("decoder2", "level2_phase1", "level2_phase2")
    newest = Run(tmp_path / "run").autoencoder_checkpoint
    assert newest.parent.name == "level2_phase2"


def test_resuming_a_stage_goes_on_from_its_own_weights(
    tmp_path, data_dir, trained, tiny_config, tiny_training
):
    first = arrays(tmp_path, "level1_phase2", "decoder1")
    assert train(tmp_path, data_dir, tiny_config, tiny_training, 1, 2, n_steps=3) == 3
    resumed = arrays(tmp_path, "level1_phase2", "decoder1")
    inherited = arrays(tmp_path, "level1_phase1", "decoder1")
    for name in first:
        if name.endswith("kernel"):
            moved = np.abs(resumed[name] - first[name]).max()
            assert 0 < moved < np.abs(resumed[name] - inherited[name]).max()


@pytest.mark.large
def test_an_autoencoder_serves_another_run(tmp_path, data_dir, trained, tiny_config, tiny_training):
    gan = dataclasses.replace(tiny_config.gan, style_depth=8)
    config, other = dataclasses.replace(tiny_config, gan=gan), tmp_path / "other"
    train_gan(other, tmp_path / "latents", config, tiny_training, trained)
    copied = Run(other).autoencoder_checkpoint
    assert copied.read_bytes() == Run(trained).autoencoder_checkpoint.read_bytes()
    assert Run(other).provenance()["level1_phase1"]["step"] == 2
    # The first run goes on to phase 2, which leaves the encoders alone: the same command resumes.
    train(tmp_path, data_dir, tiny_config, tiny_training, 2, 2)
    train_gan(other, tmp_path / "latents", config, tiny_training, trained, n_steps=2)
    assert checkpoint.step_of(Run(other).checkpoint("gan")) == 2
    with pytest.raises(ValueError, match="has another autoencoder already"):
        train_gan(trained, tmp_path / "latents", tiny_config, tiny_training, other)
    sizes = dataclasses.replace(tiny_config.autoencoder, level2_encoder_widths=(8, 8))
    narrow = dataclasses.replace(tiny_config, autoencoder=sizes)
    with pytest.raises(ValueError, match="level2_encoder_widths is"):
        train_gan(tmp_path / "third", tmp_path / "latents", narrow, tiny_training, trained)
    assert not (tmp_path / "third").exists()


def test_a_gan_is_not_mixed_with_other_encoders(
    tmp_path, data_dir, trained, tiny_config, tiny_training
):
    Run(trained).synthesizer()
    train(tmp_path, data_dir, tiny_config, tiny_training, 2, 1, n_steps=3)
    with pytest.raises(ValueError, match="trained on latents of other encoders"):
        Run(trained).synthesizer()
    encoding.encode_shards(Run(trained), data_dir, tmp_path / "latents", overwrite=True)
    with pytest.raises(ValueError, match="trained on latents of other encoders"):
        train_gan(trained, tmp_path / "latents", tiny_config, tiny_training, n_steps=2)


def test_a_gan_begins_with_the_spread_of_its_latents(tmp_path, trained):
    rows = [s.rows(x) for s in [Shards.open(tmp_path / "latents")] for x in s.split("train")]
    # Of both channels together: which is left and which is right makes no difference.
    mono = np.concatenate(rows).astype(np.float64).reshape(-1, 16)
    before = np.arctanh(np.clip(mono, -0.995, 0.995))
    found = networks_of(Run(trained).checkpoint("gan"))
    for generator in ("generator", "generator_average"):
        for name, expected in (("scale", before.std(axis=0)), ("shift", before.mean(axis=0))):
            value = found[f"networks/{generator}/output_scale/{name}"]
            np.testing.assert_allclose(value, np.tile(expected, 2), rtol=1e-4, atol=1e-5)


def test_left_and_right_are_as_much_alike_as_in_the_latents(tmp_path, trained):
    shards = Shards.open(tmp_path / "latents")
    rows = np.concatenate([shards.rows(x) for x in shards.split("train")]).astype(np.float64)
    left, right = np.split(np.arctanh(np.clip(rows, -0.995, 0.995)), 2, axis=1)
    left, right = np.concatenate([left, right]), np.concatenate([right, left])
    *_, found = stage._spread(shards)
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(left.T, right.T, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def networks_of(path):
    return {k: v for k, v in checkpoint._read(path).items() if k.startswith("networks/")}


@pytest.mark.large
def test_a_stage_of_a_new_run_begins_with_the_weights_of_another(
    tmp_path, data_dir, trained, tiny_config, tiny_training
):
    still = dataclasses.replace(tiny_training, learning_rate=1e-30)
    args = tmp_path, data_dir, tiny_config, still
    theirs = Run(trained).checkpoint("level2_phase1")
    new = Run(tmp_path / "a")
    # A run, a stage or a checkpoint.
    for source in (trained, theirs.parent, theirs):
        assert new.initial_checkpoint("level2_phase1", source, tiny_config) == theirs
    train(*args, 2, 1, n_steps=1, run="a", init_from=trained)
    require_same(networks_of(new.checkpoint("level2_phase1")), networks_of(theirs))
    # Once begun, the stage goes on from its own checkpoint, whatever became of the source.
    assert train(*args, 2, 1, n_steps=2, run="a", init_from=tmp_path / "gone") == 2
    # The new run has all that the next stage needs.
    assert train(*args, 2, 2, n_steps=1, run="a") == 1


@pytest.mark.slow
def test_a_gan_begins_with_the_weights_of_another(
    tmp_path, data_dir, trained, tiny_config, tiny_training
):
    still = dataclasses.replace(tiny_training, learning_rate=1e-30)
    args = tmp_path / "latents", tiny_config, still, trained
    train_gan(tmp_path / "new", *args, init_from=trained)
    theirs, ours = (networks_of(Run(run).checkpoint("gan")) for run in (trained, tmp_path / "new"))
    generators = [name for name in theirs if name.startswith("networks/generator/")]
    assert generators
    for name in generators:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    (trained / "gan" / ENCODER_FILE).write_text("another")
    with pytest.raises(ValueError, match="trained on latents of other encoders"):
        train_gan(tmp_path / "third", *args, init_from=trained)


@pytest.mark.slow
def test_released_weights_begin_a_gan_of_another_run(
    tmp_path, data_dir, trained, tiny_config, tiny_training
):
    weights = release.release(Run(trained), tmp_path / "weights")
    # Rounded encoders are others: their latents are made with them.
    still = dataclasses.replace(tiny_training, learning_rate=1e-30)
    with pytest.raises(ValueError, match="made by other encoder weights"):
        train_gan(tmp_path / "new", tmp_path / "latents", tiny_config, still, weights)
    encoding.encode_shards(Run(weights), data_dir, tmp_path / "latents", overwrite=True)
    args = tmp_path / "latents", tiny_config, still, weights
    train_gan(tmp_path / "new", *args, init_from=weights)
    theirs, ours = (networks_of(Run(run).checkpoint("gan")) for run in (weights, tmp_path / "new"))
    prefix = "networks/generator_average/"
    averages = [name for name in theirs if name.startswith(prefix)]
    assert averages
    for name in averages:
        generator = ours[name.replace(prefix, "networks/generator/")]
        np.testing.assert_array_equal(generator, theirs[name].astype(np.float32), err_msg=name)
        np.testing.assert_array_equal(ours[name], generator, err_msg=name)
    with pytest.raises(ValueError, match="without the state of their training"):
        train_gan(weights, tmp_path / "latents", tiny_config, still, n_steps=20)


def test_weights_to_begin_with_must_fit(tmp_path, data_dir, trained, tiny_config, tiny_training):
    args = tmp_path, data_dir, tiny_config, tiny_training
    with pytest.raises(ValueError, match="run has level1_phase1, with whose weights level1_phase2"):
        Run(trained).initial_checkpoint("level1_phase2", trained, tiny_config)
    with pytest.raises(ValueError, match=r"has no checkpoint of level2_phase2 .* level2_phase1"):
        train(*args, 2, 2, run="new", init_from=trained)
    with pytest.raises(ValueError, match="is no run, stage or checkpoint"):
        train(*args, 1, 1, run="new", init_from=tmp_path / "nothing")
    sizes = dataclasses.replace(tiny_config.autoencoder, level1_encoder_widths=(8,))
    narrow = dataclasses.replace(tiny_config, autoencoder=sizes)
    with pytest.raises(ValueError, match="level1_encoder_widths is"):
        train(tmp_path, data_dir, narrow, tiny_training, 1, 1, run="new", init_from=trained)
    # Out of its run a checkpoint has no config, but shapes.
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(Run(trained).checkpoint("level1_phase1").read_bytes())
    with pytest.raises(ValueError, match="does not fit|has shape"):
        train(tmp_path, data_dir, narrow, tiny_training, 1, 1, run="new", init_from=copied)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("few_n_batches", "is_reported"), [(1, False), (2, True)])
def test_little_data_is_reported(
    tmp_path, data_dir, tiny_config, tiny_training, capsys, monkeypatch, few_n_batches, is_reported
):
    monkeypatch.setattr(stage, "_FEW_N_BATCHES", few_n_batches)
    train(tmp_path, data_dir, tiny_config, tiny_training, 1, 1, n_steps=1)
    line = "the training data hold 5 examples of 1.5 s, and a step takes 4"
    assert (line in capsys.readouterr().out) == is_reported
