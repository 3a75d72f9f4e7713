"""Every training step is one XLA program: state and batch in, state and metrics out.

Such a program runs wherever XLA does, also where there is no TensorFlow.
"""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from musika_tf.training.autoencoder_trainer import AutoencoderTrainer
from musika_tf.training.gan_trainer import GanTrainer

STAGES = (
    "level1_phase1",
    # In the large tier: what they do, the others do too.
    *(
        pytest.param(stage, marks=pytest.mark.large)
        for stage in ("level1_phase2", "level2_phase1", "level2_phase2", "gan", "conditional_gan")
    ),
)


def make_trainer(stage, config, training):
    if stage.endswith("gan"):
        return GanTrainer(config=config, training=training, held_out=None)
    level, phase = int(stage[5]), int(stage[-1])
    held_out = np.zeros((1, config.audio.pair_n_samples), np.float32)
    return AutoencoderTrainer(
        config=config, training=training, level=level, phase=phase, held_out=held_out
    )


def make_batch(stage, config, training) -> list[tf.Tensor]:
    shapes = [(training.batch_size, config.audio.pair_n_samples)]
    if stage.endswith("gan"):
        n_steps = 2 * config.gan.seq_len
        shapes = [(training.batch_size, n_steps, config.stereo_latent_depth)]
        if stage == "conditional_gan":
            n_steps += 2 * config.gan.context_n_steps
            shapes.append((training.batch_size, n_steps, config.conditioning.n_signals))
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=shape) * 0.1, tf.float32) for shape in shapes]


def as_pure_function(trainer, names):
    """(state, batch) → (new state, metrics), with no other input."""
    variables = trainer.named_variables().values()

    @tf.function(jit_compile=True, autograph=False)
    def pure(state, batch):
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)
        metrics = trainer.step(*batch)
        names[:] = sorted(metrics)
        return [v.read_value() for v in variables], [metrics[name] for name in names]

    return pure


@pytest.mark.parametrize("stage", STAGES)
def test_step_lowers_to_one_program(stage, tiny_config, conditional_config, tiny_training):
    config = conditional_config if stage == "conditional_gan" else tiny_config
    trainer = make_trainer(stage, config, tiny_training)
    batch = make_batch(stage, config, tiny_training)
    names: list[str] = []
    pure = as_pure_function(trainer, names)
    state = [variable.read_value() for variable in trainer.named_variables().values()]
    program = pure.experimental_get_compiler_ir(state, batch)(stage="hlo_serialized")
    assert len(program) > 10_000
    # Whatever the program takes besides state and batch is a variable that the state holds too.
    known = {variable.handle.ref() for variable in trainer.named_variables().values()}
    captured = pure.get_concrete_function(state, batch).captured_inputs
    strangers = [c for c in captured if c.dtype == tf.resource and c.ref() not in known]
    assert not strangers
    first, metrics = pure(state, batch)
    again, same_metrics = pure(state, batch)
    for a, b in zip(first + metrics, again + same_metrics, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any("l1" in name or "hinge" in name for name in names)
    step_index = list(trainer.named_variables()).index("state/step")
    assert int(first[step_index]) == 1


@pytest.mark.large
@pytest.mark.parametrize("stage", ["level2_phase2", "gan"])
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_learns_the_same(stage, precision, tiny_config, tiny_training):
    """Half precision stays inside the networks: losses agree, weights and outputs are float32."""
    training = dataclasses.replace(tiny_training, learning_rate=1e-3)
    half = dataclasses.replace(training, precision=precision)
    batch = make_batch(stage, tiny_config, training)
    metrics = []
    for each in (training, half):
        trainer = make_trainer(stage, tiny_config, each)
        step = tf.function(trainer.step, autograph=False)
        metrics.append([{k: float(v) for k, v in step(*batch).items()} for _ in range(3)])
    for expected, found in zip(*metrics, strict=True):
        for name in expected:
            assert found[name] == pytest.approx(expected[name], rel=0.1, abs=0.05), name
    assert metrics[0] != metrics[1]
    for name, network in trainer.networks.items():
        layers = [layer.compute_dtype for layer in network.layers]
        assert precision in layers, name
        assert {v.dtype for v in network.variables} == {"float32"}
        assert {output.dtype for output in network.outputs} == {"float32"}, name
    # The policy was the trainer's alone.
    assert keras.config.dtype_policy().name == "float32"
