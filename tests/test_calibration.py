"""What is asked for is what is heard, once a run is calibrated."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from random_model import save_random_run

from export import saved_model
from musika_tf import generation
from musika_tf.config import ConditioningConfig
from musika_tf.evaluation import calibration
from musika_tf.networks import critics, gan
from musika_tf.player import open_player
from musika_tf.runs.run import Run
from musika_tf.signals import KNOWN_SIGNALS
from musika_tf.training_config import TrainingConfig

DENSITY, TEMPO = KNOWN_SIGNALS["note_density"], KNOWN_SIGNALS["tempo_bpm"]
# What a generator plays that follows half of what it is given: of d it is .2 + d / 2.
HEARD = {0.0: 0.2, 0.4: 0.4, 1.0: 0.7}


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(tiny_config, conditioning=ConditioningConfig((TEMPO, DENSITY)))


def numbers(heard, name="note_density"):
    rows = [{"requested": asked, "measured_mean": mean} for asked, mean in heard.items()]
    return {"signals": {name: {"constants": rows}}}


def test_a_response_is_what_was_given_and_heard(config):
    tempo, density = calibration.calibrated(config, numbers(HEARD)).conditioning.signals
    assert tempo == TEMPO
    assert density.response == ((0.0, 0.2), (0.4, 0.4), (1.0, 0.7))
    assert (density.asked.minimum, density.asked.maximum) == (0.2, 0.7)
    # As without a response the network is given the middle of its range.
    assert density.asked.middle == pytest.approx(np.interp(0.5, list(HEARD), list(HEARD.values())))
    assert density.asked.asked == density.asked


def test_calibrated_again_it_is_still_what_the_network_is_given(config):
    once = calibration.calibrated(config, numbers(HEARD))
    # Asked for .3 and .55 it was given .2 and .7, and something else was heard of these.
    again = calibration.calibrated(once, numbers({0.3: 0.32, 0.55: 0.5}))
    assert again.conditioning.signals[1].response == ((0.2, 0.32), (0.7, 0.5))


def test_what_does_not_rise_is_left_out_or_refused(config):
    found = calibration.calibrated(config, numbers({0.0: 0.2, 0.3: 0.19, 0.6: 0.2, 0.9: 0.4}))
    assert found.conditioning.signals[1].response == ((0.0, 0.2), (0.9, 0.4))
    with pytest.raises(ValueError, match="note_density cannot be calibrated: what is heard does"):
        calibration.calibrated(config, numbers({0.2: 0.4, 0.6: 0.3}))
    with pytest.raises(ValueError, match="no signal of this model but tempo was measured"):
        calibration.calibrated(config, numbers({120.0: 118.0, 130.0: 131.0}, "tempo_bpm"))


def test_a_run_and_its_export_are_given_what_will_be_heard(tmp_path, config):
    run = Run(tmp_path / "run")
    save_random_run(run.folder, config)
    asked = {"tempo_bpm": "120", "note_density": "0.55"}
    given = asked | {"note_density": "0.7"}
    before = sound(run.folder, given)
    (tmp_path / "adherence.json").write_text(json.dumps(numbers(HEARD)))
    told = calibration.keep(run, tmp_path)
    assert told == ("note_density can be asked for from 0.2 to 0.7 (share of the densest) now")
    np.testing.assert_allclose(sound(run.folder, asked), before, atol=1e-5)
    with pytest.raises(ValueError, match=r"note_density=0.1 must be from 0.2 to 0.7"):
        sound(run.folder, asked | {"note_density": "0.1"})
    exported = saved_model.export(run, tmp_path / "model", verify=False)
    np.testing.assert_allclose(sound(exported, asked), before, atol=1e-4)
    told = open_player(exported).metadata["controls"][1]
    assert (told["minimum"], told["maximum"]) == (0.2, 0.7)
    assert told["middle"] == pytest.approx(0.45)


def sound(model, texts):
    """The first second of a piece that follows constants."""
    request = generation.Request(seconds=1.0, controls=texts)
    return generation.sample(open_player(model), request)


def test_critics_are_shown_labels_as_they_are(config):
    calibrated = calibration.calibrated(config, numbers(HEARD))
    label = np.full((1, 2 * config.gan.seq_len, 2), [120.0, 0.6], np.float32)
    for build, signals in (
        (critics.build_discriminator, config.conditioning.signals),
        (gan.build_generator, calibrated.conditioning.signals),
    ):
        layer = build(calibrated).get_layer("conditioning_in_model_units")
        assert layer.signals == signals
        density = layer(label).numpy()[0, 0, 1]
        assert density == pytest.approx(0.2 if signals[1] is DENSITY else 0.6, abs=1e-5)


def test_a_training_that_goes_on_drops_it(tmp_path, config):
    run = Run(tmp_path)
    calibrated = calibration.calibrated(config, numbers(HEARD))
    run.begin("gan", calibrated, TrainingConfig(), "")
    run.check_config(config)
    run.begin("gan", config, TrainingConfig(), "")
    assert run.saved_config == config
