"""Released weights: what is in them, and that what takes a run takes them."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from random_model import save_random_run

from musika_tf.player import open_player
from musika_tf.runs import checkpoint, release
from musika_tf.runs.run import Run
from musika_tf.training import logs


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tiny_config):
    run_dir = tmp_path_factory.mktemp("release") / "run"
    save_random_run(run_dir, tiny_config)
    (run_dir / "gan" / "flags.txt").write_text("# gan\n--seed=3\n--latent_dir=/home/me/latents\n")
    (run_dir / "level2_phase2" / "flags.txt").write_text("--data_dir=/home/me/piano\n")
    writer = logs.SummaryWriter(run_dir / "gan")
    for step, distance in ((0, 8.0), (5, 4.0), (9, 2.5)):
        writer.scalars({"held_out/frechet": distance, "generator/adversarial": 1.0}, step)
    writer.close()
    return run_dir


@pytest.fixture(scope="module")
def weights_dir(run_dir):
    card = run_dir.parent / "card.md"
    card.write_text("# Tiny noise\n\nTrained on nothing, free to use.\n")
    return release.release(Run(run_dir), run_dir.parent / "weights" / "tiny", card=card)


def test_weights_are_those_of_the_run_in_float16(run_dir, weights_dir):
    for stage, name in (("level2_phase2", "00000007"), ("gan", "00000009")):
        file = f"{stage}/checkpoint-{name}.safetensors"
        before = safetensors.numpy.load_file(run_dir / file)
        after = safetensors.numpy.load_file(weights_dir / file)
        left_out = ("networks/generator/", "networks/decoder2_learning/")
        kept = {key for key in before if not key.startswith(left_out)}
        assert set(after) == kept
        assert len(kept) < len(before)
        for key, array in after.items():
            assert array.dtype == np.float16
            np.testing.assert_allclose(array, before[key], rtol=2**-11, atol=2**-24)


def test_what_only_training_needs_is_left_out(tmp_path):
    variables = {
        "networks/generator/conv/kernel": tf.Variable([1.0, 1e-9]),
        "networks/discriminator/conv/n": tf.Variable(3, dtype=tf.int64),
        "optimizers/generator/m": tf.Variable([2.0]),
        "state/step": tf.Variable(7),
    }
    path = checkpoint.save(tmp_path / "run", variables, 7)
    arrays = safetensors.numpy.load_file(checkpoint.save_weights(path, tmp_path / "weights"))
    assert {name: array.dtype for name, array in arrays.items()} == {
        "networks/generator/conv/kernel": np.float16,
        "networks/discriminator/conv/n": np.int64,
    }


def test_card_says_what_the_run_knows(weights_dir):
    card = (weights_dir / "README.md").read_text()
    assert card.startswith("# Tiny noise\n\nTrained on nothing, free to use.\n\n## Training\n")
    assert "| gan | 9 | " in card
    assert "latent Fréchet distance 2.5 |" in card
    assert "| level2_phase2 | 7 | – | – |" in card
    assert (weights_dir / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_folders_of_the_machine_are_not_released(weights_dir):
    texts = [
        path.read_text() for path in weights_dir.rglob("*.*") if path.suffix in (".txt", ".json")
    ]
    assert not any("/home/me" in text for text in texts)
    provenance = Run(weights_dir).provenance()
    assert provenance["gan"] == {"step": 9, "flags": ["--seed=3", "--latent_dir=latents"]}
    assert provenance["level2_phase2"] == {"step": 7, "flags": ["--data_dir=piano"]}


def test_released_weights_are_a_run(weights_dir, run_dir):
    Run(weights_dir).require_encoder()
    released, before = Run(weights_dir).synthesizer(), Run(run_dir).synthesizer()
    for name, network in released.networks.items():
        for one, other in zip(network.weights, before.networks[name].weights, strict=True):
            assert one.dtype == "float32"
            np.testing.assert_allclose(one, other, rtol=2**-11, atol=2**-24)


def test_training_does_not_go_on_in_them(weights_dir):
    path = checkpoint.latest(weights_dir / "gan")
    with pytest.raises(ValueError, match=f"without the state .*--init_from={weights_dir}"):
        checkpoint.restore(path, {"state/step": tf.Variable(0)})


def test_a_run_without_gan_can_be_released(tmp_path, run_dir, tiny_config):
    save_random_run(tmp_path / "run", tiny_config)
    for path in (tmp_path / "run" / "gan").iterdir():
        path.unlink()
    made = release.release(Run(tmp_path / "run"), tmp_path / "universal")
    assert (made / "README.md").read_text().startswith("# universal\n")
    assert not (made / "gan").exists()
    assert not (made / "curves.png").exists()
    with pytest.raises(ValueError, match="musika-train-gan"):
        open_player(made)


def test_what_is_there_is_replaced_only_if_asked(tmp_path, run_dir):
    target = tmp_path / "weights"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(ValueError, match="--overwrite"):
        release.release(Run(run_dir), target)
    assert (target / "mine").exists()
    release.release(Run(run_dir), target, overwrite=True)
    assert not (target / "mine").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights"]
