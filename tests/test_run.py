"""A run: what it loads, and what it says where something is missing."""

import numpy as np
import pytest
from random_model import save_networks, save_random_run

from musika_tf.networks import gan
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.runs import checkpoint
from musika_tf.runs.run import Run
from musika_tf.training_config import TrainingConfig


def test_load_takes_averaged_generator_and_decoders(tmp_path, tiny_config):
    saved = save_random_run(tmp_path, tiny_config)
    loaded = Run(tmp_path).synthesizer()
    assert list(loaded.networks) == ["generator", "decoder2", "decoder1"]
    for name, network in loaded.networks.items():
        pairs = zip(network.get_weights(), saved.networks[name].get_weights(), strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs), name
    assert not Run(tmp_path).decodes_magnitudes_only


def test_load_prefers_phase_2_and_tells_of_phase_1(tmp_path, tiny_config):
    save_random_run(tmp_path, tiny_config, "level2_phase1")
    assert Run(tmp_path).decodes_magnitudes_only
    saved = save_random_run(tmp_path, tiny_config, "level2_phase2")
    assert not Run(tmp_path).decodes_magnitudes_only
    ours = Run(tmp_path).synthesizer().networks["decoder2"].get_weights()
    assert np.array_equal(ours[0], saved.networks["decoder2"].get_weights()[0])


def test_the_best_gan_can_be_had_instead_of_the_newest(tmp_path, tiny_config):
    saved = save_random_run(tmp_path, tiny_config)
    with pytest.raises(ValueError, match="holds no best checkpoint"):
        Run(tmp_path).synthesizer(with_best=True)
    better = gan.build_generator(tiny_config, name="generator_average")
    variables = {f"networks/generator_average/{v.path}": v.value for v in better.variables}
    checkpoint.save(Run(tmp_path).stage_dir("gan"), variables, 7, checkpoint.BEST)
    for with_best, expected, step in ((False, saved.generator, None), (True, better, 7)):
        ours = Run(tmp_path).synthesizer(with_best).generator.get_weights()
        assert all(map(np.array_equal, ours, expected.get_weights()))
        step_taken = Run(tmp_path).provenance(with_best)["gan"]["step"]
        assert (step_taken == 7) == (step == 7)


def test_load_says_what_is_missing(tmp_path, tiny_config):
    with pytest.raises(ValueError, match="not a run folder"):
        Run(tmp_path).synthesizer()
    Run(tmp_path).begin("level1_phase1", tiny_config, TrainingConfig(), "")
    with pytest.raises(ValueError, match="musika-train-autoencoder --level=2 --phase=1"):
        Run(tmp_path).synthesizer()
    save_networks(tmp_path, "level2_phase1", 1, Autoencoder(tiny_config).networks)
    with pytest.raises(ValueError, match="musika-train-gan"):
        Run(tmp_path).synthesizer()
