"""Every preset, at toy widths: its stages take a step, and what it makes is exported and plays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from test_flags import PRESETS

from export import saved_model
from flags import system
from musika_tf.config import Config
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer
from musika_tf.training_config import TrainingConfig

pytestmark = pytest.mark.slow

TRAINING = TrainingConfig(batch_size=1)
_WIDTH = 8
# One that has all parts; the others are large: minutes together.
BY_DEFAULT = ("techno_tempo",)


def at_toy_widths(config: Config) -> Config:
    """The same system, rates and depths of its interfaces included, with narrow networks."""

    def narrow(section):
        widths = {
            field.name: _WIDTH if isinstance(width, int) else (_WIDTH,) * len(width)
            for field in dataclasses.fields(section)
            if "width" in field.name
            for width in [getattr(section, field.name)]
        }
        return dataclasses.replace(section, **widths)

    return dataclasses.replace(
        config, autoencoder=narrow(config.autoencoder), gan=narrow(config.gan)
    )


@pytest.fixture(scope="module")
def done() -> dict[Config, str]:
    """Presets by what they are at toy widths: some differ in their widths alone."""
    return {}


@pytest.mark.parametrize(
    "preset",
    [pytest.param(name, marks=[pytest.mark.large] * (name not in BY_DEFAULT)) for name in PRESETS],
)
def test_preset_trains_and_plays(preset, done, parse_flags, tmp_path):
    flag_values = parse_flags(f"--preset={preset}")
    config = at_toy_widths(system.config(flag_values=flag_values))
    if config in done:
        return
    generator = step_gan(config)
    autoencoder = step_autoencoder(config)
    saved_model.save(Synthesizer(config, generator, autoencoder), tmp_path)
    play(config, tmp_path)
    done[config] = preset


def rng():
    return np.random.default_rng(0)


def conditioning(config, n_steps) -> list[tf.Tensor]:
    """Conditioning of one example; nothing of an unconditional system."""
    of = config.conditioning.signals
    least, greatest = [signal.minimum for signal in of], [signal.maximum for signal in of]
    values = rng().uniform(least, greatest, (1, n_steps, len(of)))
    return [tf.constant(values, tf.float32)] if of else []


def require_finite(metrics):
    assert np.isfinite([float(value) for value in metrics.values()]).all()
    assert float(metrics["skipped"]) == 0.0


def step_gan(config):
    trainer = GanTrainer(config=config, training=TRAINING, held_out=None)
    shape = (1, 2 * config.gan.seq_len, config.stereo_latent_depth)
    latents = tf.constant(rng().uniform(-1, 1, shape), tf.float32)
    n_steps = shape[1] + 2 * config.gan.context_n_steps
    require_finite(trainer.step(latents, *conditioning(config, n_steps)))
    return trainer.generator_average


def step_autoencoder(config):
    waveform = (rng().normal(size=(1, config.audio.pair_n_samples)) * 0.1).astype(np.float32)
    trainer = AutoencoderTrainer(
        config=config, training=TRAINING, level=2, phase=2, held_out=waveform
    )
    require_finite(trainer.step(tf.constant(waveform)))
    return trainer.autoencoder


def play(config, path):
    gan = config.gan
    inputs = {
        "anchors": tf.random.stateless_normal([1, 2, gan.anchor_depth], [0, 1]),
        "style": tf.random.stateless_normal([1, gan.style_depth], [0, 2]),
    }
    inputs |= zip(("conditioning",), conditioning(config, 2 * gan.seq_len), strict=False)
    loaded = tf.saved_model.load(str(path))
    waveform = loaded.signatures["serving_default"](**inputs)["waveform"].numpy()
    assert waveform.shape == (1, config.anchor_hop_size, 2)
    assert np.isfinite(waveform).all() and waveform.std() > 0.0
