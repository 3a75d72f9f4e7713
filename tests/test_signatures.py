"""Signatures of the exported model: what they take, refuse and give."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from export import signatures
from export.verification import checks, loaders
from musika_tf.conditioning.controls import Constant
from musika_tf.player import open_player

RATE_HZ = 22_050
SIGNATURES = ["serving_default", "generate", "generate_wav", "latents", "decode"]


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return tf.saved_model.load(str(tiny_model))


def test_contract_is_kept(loaded, contract):
    assert list(contract) == SIGNATURES
    assert set(loaded.signatures) == set(SIGNATURES)
    for name, signature in contract.items():
        function = loaded.signatures[name]
        assert set(function.structured_input_signature[1]) == set(signature.inputs)
        outputs = function(**tensors(signature.example(batch_size=3)))
        assert set(outputs) == set(signature.outputs)
        for key, port in signature.outputs.items():
            assert outputs[key].dtype == port.dtype
            assert outputs[key].shape[0] == 3
            assert port.static_shape.is_compatible_with(outputs[key].shape)


def tensors(arrays):
    return {name: tf.constant(array) for name, array in arrays.items()}


def test_served_waveform_is_the_live_networks_eagerly(loaded, contract):
    # An independent way to the same numbers: eager, without the graph and its checks.
    inputs = contract["serving_default"].example()
    live = contract["serving_default"].compute(**tensors(inputs))["waveform"]
    served = loaded.signatures["serving_default"](**tensors(inputs))["waveform"]
    np.testing.assert_allclose(served, live, rtol=0, atol=checks.TOLERANCE)


# Pieces from seeds


def tensors_of(seeds, seconds, truncation=2.0, **signals):
    n_rows = len(seeds)
    fill = lambda value: np.broadcast_to(np.float32(value), [n_rows]).copy()  # noqa: E731
    inputs = {"seed": np.array(seeds, np.int32), "seconds": fill(seconds)}
    return tensors(
        inputs | {"truncation": fill(truncation)} | {k: fill(v) for k, v in signals.items()}
    )


def streamed(model, seed, n_samples, controls=()):
    """The beginning of the piece that `musika-generate` makes."""
    return np.concatenate(list(model.stream(seed, 2.0, controls, n_samples)))


def test_generate_makes_the_pieces_of_the_seeds(loaded, tiny_model):
    seeds, n_samples = [(7, 0), (7, 1), (8, 0)], [round(9.5 * RATE_HZ), 40_000, 1]
    seconds = [9.5, 40_000 / RATE_HZ, 1e-6]
    waveform = loaded.signatures["generate"](**tensors_of(seeds, seconds))["waveform"].numpy()
    assert waveform.shape == (3, max(n_samples), 2)
    model = open_player(tiny_model)
    for row, seed, n in zip(waveform, seeds, n_samples, strict=True):
        np.testing.assert_allclose(row[:n], streamed(model, seed, n), rtol=0, atol=1e-5)
        assert not row[n:].any()
    assert np.abs(waveform[0] - waveform[1]).max() > 0.01


def test_rows_of_a_request_have_their_own_truncation(loaded):
    generate = loaded.signatures["generate"]
    narrow, wide = generate(**tensors_of([(1, 2)] * 2, 3.0, [0.1, 3.0]))["waveform"].numpy()
    alone = generate(**tensors_of([(1, 2)], 3.0, 3.0))["waveform"].numpy()[0]
    np.testing.assert_allclose(wide, alone, rtol=0, atol=1e-5)
    assert np.abs(narrow - wide).max() > 0.01


@pytest.mark.parametrize("seconds", [0.001, 1.0, 2.97216, 2.9722, 100.00001])
def test_generate_is_as_long_as_asked(loaded, seconds):
    # 2.97216 s are the 65 536 samples of a patch of the tiny system, to the sample.
    waveform = loaded.signatures["generate"](**tensors_of([(0, 0)], seconds))["waveform"]
    assert waveform.shape == (1, round(float(np.float32(seconds)) * RATE_HZ), 2)


def test_wav_files_hold_the_waveforms(loaded):
    inputs = tensors_of([(3, 0), (4, 0)], [2.5, 1.25])
    waveform = loaded.signatures["generate"](**inputs)["waveform"].numpy()
    files = loaded.signatures["generate_wav"](**inputs)["wav_bytes"].numpy()
    for content, row, n_samples in zip(files, waveform, (55_125, 27_562), strict=True):
        info = soundfile.info(io.BytesIO(content))
        assert (info.samplerate, info.channels, info.format) == (RATE_HZ, 2, "WAV")
        assert info.subtype == "PCM_16"
        samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
        assert samples.shape == (n_samples, 2)
        np.testing.assert_allclose(samples, row[:n_samples], rtol=0, atol=1.0 / 2**15)
        assert np.abs(samples).max() > 0.01


def test_a_conditional_model_is_given_constants(conditional_model):
    model = open_player(conditional_model)
    generate = tf.saved_model.load(str(conditional_model)).signatures["generate"]
    inputs = tensors_of([(5, 0)], 4.0, note_density=0.4, tempo_bpm=128.0)
    waveform = generate(**inputs)["waveform"].numpy()[0]
    expected = streamed(model, (5, 0), len(waveform), (Constant(0.4), Constant(128.0)))
    np.testing.assert_allclose(waveform, expected, rtol=0, atol=1e-5)
    for name, value in (("note_density", 1.1), ("tempo_bpm", 100.0)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` must be from"):
            generate(**(inputs | {name: tf.constant([value])}))


# Streaming


@pytest.mark.slow
@pytest.mark.parametrize(
    "n_excerpts", [1, 7, *(pytest.param(n, marks=pytest.mark.large) for n in (2, 3, 100))]
)
def test_chunks_are_the_waveform_of_one_call(loaded, tiny_config, ten_minutes, n_excerpts):
    latents, waveform = ten_minutes
    step, start = n_excerpts * tiny_config.excerpt_n_latents, 0
    overlap = tf.zeros([1, tiny_config.audio.overlap_size, 2])
    for first in range(0, latents.shape[1], step):
        outputs = loaded.signatures["decode"](
            latents=latents[:, first : first + step], overlap=overlap
        )
        chunk, overlap = outputs["waveform"].numpy(), outputs["overlap"]
        expected = waveform[:, start : start + chunk.shape[1]]
        np.testing.assert_allclose(chunk, expected, rtol=0, atol=1e-5)
        start += chunk.shape[1]
    assert start == waveform.shape[1] > 600 * RATE_HZ


@pytest.fixture(scope="module")
def ten_minutes(loaded, tiny_config):
    """Latents by `latents`, window after window, and the waveform in one call."""
    gan, rng = tiny_config.gan, np.random.default_rng(0)
    anchors = rng.normal(size=(1, 102, gan.anchor_depth)).astype(np.float32)
    style = rng.normal(size=(1, gan.style_depth)).astype(np.float32)
    held = np.concatenate([anchors[:, :1], anchors, anchors[:, -1:]], axis=1)
    # The context is as long as the way from anchor to anchor.
    assert gan.context_n_steps == 2 * gan.seq_len
    line = checks._coordinates(held, 2 * gan.seq_len)
    n_steps, latents = 101 * 2 * gan.seq_len, []
    for start in range(0, n_steps, 200):
        steps = slice(start, min(start + 200, n_steps) + 2 * gan.context_n_steps)
        window = {"coordinates": line[:, steps], "start": np.array([start], np.int32)}
        window["style"] = np.repeat(style[:, np.newaxis], window["coordinates"].shape[1], axis=1)
        latents.append(loaded.signatures["latents"](**tensors(window))["latents"])
    inputs = tensors({"anchors": anchors, "style": style})
    waveform = loaded.signatures["serving_default"](**inputs)["waveform"]
    return tf.concat(latents, axis=1), waveform.numpy()


# Refusals


def changed(signature, name, change):
    inputs = signature.example()
    return {**inputs, name: np.asarray(change(inputs[name]), inputs[name].dtype)}


def with_first(value):
    def change(array):
        array = array.copy()
        array.flat[0] = value
        return array

    return change


BAD_INPUTS = {
    "one anchor": ("serving_default", "anchors", lambda x: x[:, :1], "A from 2 to 102"),
    "anchors, rank": ("serving_default", "anchors", lambda x: x[0], "must have shape"),
    "anchors, scalar": ("serving_default", "anchors", lambda x: 0.0, "must have shape"),
    "anchors, depth": ("serving_default", "anchors", lambda x: x[..., 1:], "must have shape"),
    "anchors, NaN": ("serving_default", "anchors", with_first(np.nan), "NaN"),
    "style, depth": ("serving_default", "style", lambda x: x[:, 1:], "must have shape"),
    "style, infinite": ("serving_default", "style", with_first(np.inf), "infinite"),
    "style, rows": ("serving_default", "style", lambda x: x[:1], "as many rows as `anchors`"),
    "no row": ("latents", "coordinates", lambda x: x[:0], "B from 1 to 32"),
    "coordinates, length": ("latents", "coordinates", lambda x: x[:, 1:], "must have shape"),
    "coordinates, rank": ("latents", "coordinates", lambda x: x[None], "must have shape"),
    "coordinates, longer": ("latents", "style", lambda x: x[:, 1:], "must have N steps"),
    "start, between": ("latents", "start", lambda x: x + 1, "must be a multiple of 8, not"),
    "start, rows": ("latents", "start", lambda x: x[:1], "as many rows as `coordinates`"),
    "half an excerpt": ("decode", "latents", lambda x: x[:, ::2], "k a multiple of 4"),
    "no excerpt": ("decode", "latents", lambda x: x[:, :0], "k a multiple of 4"),
    "latents, NaN": ("decode", "latents", with_first(np.nan), "NaN"),
    "overlap, length": ("decode", "overlap", lambda x: x[:, 1:], "must have shape"),
    "overlap, mono": ("decode", "overlap", lambda x: x[..., :1], "must have shape"),
    "too many rows": ("latents", "coordinates", lambda x: x.repeat(17, 0), "B from 1 to 32"),
    "too many anchors": ("serving_default", "anchors", lambda x: x.repeat(60, 1), "A from 2 to"),
    "no length": ("generate", "seconds", lambda x: 0 * x, "above 0 and at most 600"),
    "too long": ("generate", "seconds", lambda x: 601 + x, "above 0 and at most 600"),
    "seconds, NaN": ("generate_wav", "seconds", with_first(np.nan), "NaN"),
    "truncation": ("generate_wav", "truncation", lambda x: -x, "above 0 and at most 10"),
    "seconds, rows": ("generate", "seconds", lambda x: x[:1], "as many rows as `seed`"),
    "seconds, rank": ("generate", "seconds", lambda x: x[:, None], "must have shape"),
    "overlap, infinite": ("decode", "overlap", with_first(-np.inf), "infinite"),
}


@pytest.mark.parametrize("what", BAD_INPUTS)
def test_bad_input_is_named(loaded, contract, what):
    signature, name, change, message = BAD_INPUTS[what]
    inputs = changed(contract[signature], name, change)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}`.*{message}"):
        loaded.signatures[signature](**tensors(inputs))


@pytest.mark.slow
def test_bad_input_is_named_through_a_session(tiny_model, contract):
    inputs = changed(contract["serving_default"], "anchors", lambda x: x[..., 1:])
    call = loaders.load_session(str(tiny_model))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`anchors` must have shape"):
        call("serving_default", inputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signature", "name", "change"),
    [
        ("generate", "seconds", lambda x: 500 + x),
        ("generate_wav", "seconds", lambda x: 500 + x),
        ("serving_default", "anchors", lambda x: x.repeat(50, 1)),
        ("decode", "latents", lambda x: x.repeat(700, 1)),
    ],
)
def test_rows_together_are_bounded(loaded, contract, signature, name, change):
    # Two rows of 501, 588 or 520 s are allowed, three are too much; nothing is computed.
    inputs = {key: np.concatenate([x, x[:1]]) for key, x in contract[signature].example().items()}
    inputs[name] = change(inputs[name])
    message = f"`{name}` asks for more than 1200 seconds .*rows and seconds are.*3.*1"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        loaded.signatures[signature](**tensors(inputs))


def test_longest_row_fits():
    with pytest.raises(ValueError, match="max_batch_seconds=100 must be at least max_seconds=600"):
        signatures.Limits(max_batch_seconds=100.0)


@pytest.mark.parametrize("limits", [{"max_seconds": 0.0}, {"max_batch_size": -1}])
def test_limits_are_positive(limits):
    with pytest.raises(ValueError, match="must be above 0"):
        signatures.Limits(**limits)


def test_limits_bound_every_size(tiny_config):
    limits = signatures.Limits(max_seconds=12.0, max_batch_size=3)
    # 5.944 s from anchor to anchor.
    assert limits.max_anchors(tiny_config) == 4
    ports = signatures._Ports(tiny_config, limits)
    assert ports.n_anchors.maximum == 4 and ports.batch.maximum == 3
    assert ports.whole_excerpts.maximum == 3 * 2 * tiny_config.gan.seq_len
