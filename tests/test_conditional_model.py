"""A conditional model, exported: its contract, its ranges, and music that follows them."""

from __future__ import annotations

import copy
import re

import numpy as np
import processes
import pytest
import soundfile
import tensorflow as tf
from absl import flags

from export import saved_model
from export.verification import checks
from flags import controls
from musika_tf import generation
from musika_tf.conditioning import controls as controls_lib
from musika_tf.generation import Request
from musika_tf.networks import coordinates
from musika_tf.player import Player, open_player
from musika_tf.runs.run import Run

TEXTS = {"note_density": "0.3", "tempo_bpm": "128"}


@pytest.fixture(scope="module")
def model(conditional_model) -> Player:
    return open_player(conditional_model)


@pytest.fixture(scope="module")
def loaded(conditional_model):
    """The SavedModel itself, for signatures that a player does not use."""
    return tf.saved_model.load(str(conditional_model))


def tensors(arrays):
    return {name: tf.constant(array) for name, array in arrays.items()}


# The exported model


@pytest.mark.large
def test_all_loaders_give_what_the_live_networks_give(conditional_model, tmp_path, capsys):
    saved_model.export(Run(conditional_model.parents[1] / "run"), tmp_path)
    table = capsys.readouterr().out
    assert " > " not in table
    assert re.search(r"bad inputs, refused by name +((\d+) of \2 refused) +\1 +\1\n", table)


def test_contract(loaded, conditional_contract, conditional_config):
    gan = conditional_config.gan
    assert list(conditional_contract["serving_default"].inputs) == [
        "anchors",
        "style",
        "conditioning",
    ]
    assert list(conditional_contract["latents"].inputs) == [
        "coordinates",
        "style",
        "start",
        "conditioning",
    ]
    assert list(conditional_contract["decode"].inputs) == ["latents", "overlap"]
    shortest = gan.coarsest_n_steps + 2 * gan.context_n_steps
    for name, n_steps in (("serving_default", 2 * gan.seq_len), ("latents", shortest)):
        inputs = conditional_contract[name].example(batch_size=3)
        assert inputs["conditioning"].shape == (3, n_steps, 2)
        assert 0 <= inputs["conditioning"][..., 0].min() < inputs["conditioning"][..., 0].max() <= 1
        assert inputs["conditioning"][..., 1].min() >= 110
        # Without the graph's checks, in another batch than the one that was verified.
        live = conditional_contract[name].unchecked()(**tensors(inputs))
        served = loaded.signatures[name](**tensors(inputs))
        for key in live:
            np.testing.assert_allclose(served[key], live[key], rtol=0, atol=checks.TOLERANCE)


def test_serving_longer_pieces(loaded, conditional_contract, conditional_config):
    inputs = conditional_contract["serving_default"].example()
    inputs["anchors"] = np.concatenate([inputs["anchors"]] * 2, axis=1)
    inputs["conditioning"] = np.concatenate([inputs["conditioning"]] * 3, axis=1)
    waveform = loaded.signatures["serving_default"](**tensors(inputs))["waveform"]
    assert waveform.shape == (2, 3 * conditional_config.anchor_hop_size, 2)


def test_metadata_tells_the_signals(model):
    assert model.metadata["signals"] == [
        {
            "name": "note_density",
            "unit": "share of the densest",
            "minimum": 0.0,
            "maximum": 1.0,
            "rate": "step",
            "middle": 0.5,
        },
        {
            "name": "tempo_bpm",
            "unit": "beats per minute",
            "minimum": 110.0,
            "maximum": 170.0,
            "rate": "piece",
            "middle": 140.0,
        },
    ]
    assert model.metadata["signatures"]["serving_default"]["inputs"]["conditioning"] == {
        "shape": ["B", "(A-1)·32", 2],
        "sizes": {"B": {"minimum": 1, "maximum": 32, "multiple_of": 1}},
        "dtype": "float32",
        "meaning": "conditioning of the piece, one value a latent step: note_density, tempo_bpm",
        "range": "note_density from 0 to 1 (share of the densest); "
        "tempo_bpm from 110 to 170 (beats per minute)",
        "intervals": [
            {"minimum": 0.0, "maximum": 1.0, "is_open": False},
            {"minimum": 110.0, "maximum": 170.0, "is_open": False},
        ],
    }


def test_published_shape(conditional_model):
    graph = saved_model.saved_model_pb2.SavedModel()
    graph.ParseFromString((conditional_model / "saved_model.pb").read_bytes())
    signature = graph.meta_graphs[0].signature_def["serving_default"]
    shape = signature.inputs["conditioning"].tensor_shape
    assert [size.size for size in shape.dim] == [-1, -1, 2]


def with_value(channel, value):
    def change(conditioning):
        conditioning[1, 3, channel] = value
        return conditioning

    return change


BAD = {
    "density": (with_value(0, 1.01), r"channel 0, note_density, must be from 0 to 1 \(share"),
    "negative": (with_value(0, -0.01), "channel 0, note_density, must be from 0 to 1"),
    "tempo": (with_value(1, 109.9), r"channel 1, tempo_bpm, must be from 110 to 170 \(beats"),
    "NaN": (with_value(1, np.nan), "NaN or infinite"),
    "depth": (lambda x: x[..., :1], r"must have shape \[B, .*, 2\]"),
    "rank": (lambda x: x[0], "must have shape"),
    "rows": (lambda x: x[:1], "as many rows as"),
}


@pytest.mark.slow
@pytest.mark.parametrize("signature", ["serving_default", "latents"])
@pytest.mark.parametrize("what", BAD)
def test_bad_conditioning_is_named(loaded, conditional_contract, signature, what):
    change, message = BAD[what]
    inputs = conditional_contract[signature].example()
    inputs["conditioning"] = change(inputs["conditioning"].copy())
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`conditioning`.*{message}"):
        loaded.signatures[signature](**tensors(inputs))


@pytest.mark.parametrize(("n_steps", "n_anchors"), [(16, 2), (32, 3), (64, 2), (0, 2)])
def test_conditioning_has_to_be_as_long_as_the_piece(
    loaded, conditional_contract, n_steps, n_anchors
):
    inputs = conditional_contract["serving_default"].example()
    inputs["anchors"] = np.repeat(inputs["anchors"][:, :1], n_anchors, axis=1)
    inputs["conditioning"] = np.repeat(inputs["conditioning"][:, :1], n_steps, axis=1)
    wanted = rf"\(A-1\)·32 steps, A being that of `anchors`.*\b{(n_anchors - 1) * 32}\b"
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`conditioning` must have {wanted}"):
        loaded.signatures["serving_default"](**tensors(inputs))


# Music


def write(model, path, **request):
    return list(generation.generate(model, Request(**request), path))


def parse(model, texts):
    return controls_lib.parse_all(texts, model.config.conditioning.signals)


def test_stream_is_the_waveform_of_one_call(model, loaded):
    """What lies between anchors that are far from both ends of the call."""
    gan, interval = model.config.gan, model.config.anchor_hop_size
    controls = parse(model, TEXTS | {"note_density": "random_walk"})
    music = np.concatenate(list(model.stream((7, 0), 2.0, controls, 2 * interval)))
    seed, truncation, n_steps = tf.constant([[7, 0]]), tf.constant([2.0]), 2 * gan.seq_len
    given = controls_lib.values(controls, model.config, (7, 0), -n_steps, 4 * n_steps)
    waveform = loaded.signatures["serving_default"](
        anchors=coordinates.draw_anchors(seed, 0, 5, gan.anchor_depth, truncation),
        style=coordinates.draw_style(seed, gan.style_depth, truncation),
        conditioning=tf.constant(given[np.newaxis]),
    )["waveform"][0]
    begun = model.config.audio.overlap_size
    expected = waveform[interval + begun : 3 * interval]
    np.testing.assert_allclose(music[begun:], expected, rtol=0, atol=1e-5)


def test_what_is_requested_is_heard(model, tmp_path):
    for name, density in (("a", "0.3"), ("b", "0.3"), ("c", "0.6")):
        texts = TEXTS | {"note_density": density}
        write(model, tmp_path / f"{name}.wav", seconds=1.0, controls=texts)
    a, b, c = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-4


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (TEXTS | {"energy": "1"}, "has no signal energy: it follows note_density, tempo_bpm"),
        (TEXTS | {"tempo_bpm": "180"}, "tempo_bpm=180 must be from 110 to 170"),
    ],
)
def test_bad_requests_leave_nothing(model, tmp_path, texts, message):
    with pytest.raises(ValueError, match=message):
        write(model, tmp_path / "a.wav", seconds=1.0, controls=texts)
    assert not list(tmp_path.iterdir())


def test_a_stream_that_is_told_nothing_holds_the_middles(model):
    told = parse(model, {"note_density": "0.5", "tempo_bpm": "140"})
    a, b = (next(iter(model.stream((0, 0), 2.0, x))) for x in (None, told))
    np.testing.assert_array_equal(a, b)


# The program


@pytest.mark.slow
def test_program_takes_constants_walks_and_curves(model, conditional_model, tmp_path):
    curve, out = tmp_path / "curve.csv", tmp_path / "program.wav"
    curve.write_text("time_seconds,value\n0,0.1\n3,0.9\n")
    words = (f"--model_dir={conditional_model}", "--seconds=1.5", "--seed=11", f"--out={out}")
    controls = (f"--note_density={curve}", "--condition=tempo_bpm=random_walk")
    processes.run("generate", *words, *controls)
    texts = {"note_density": str(curve), "tempo_bpm": "random_walk"}
    write(model, tmp_path / "here.wav", seconds=1.5, seed=11, controls=texts)
    assert out.read_bytes() == (tmp_path / "here.wav").read_bytes()


def parse_controls(*words) -> dict[str, str]:
    flag_values = flags.FlagValues()
    for name in ("note_density", "tempo_bpm", "condition"):
        flag = copy.deepcopy(flags.FLAGS[name])
        flag.unparse()
        flags.DEFINE_flag(flag, flag_values)
    flag_values(["program", *words])
    return controls.texts(flag_values)


def test_flags_of_controls():
    assert parse_controls() == {}
    words = ("--note_density=random_walk", "--condition=energy= 3", "--condition=a_b=x=y.csv")
    wanted = {"note_density": "random_walk", "energy": "3", "a_b": "x=y.csv"}
    assert parse_controls(*words) == wanted
    assert parse_controls("--condition=tempo_bpm=128") == {"tempo_bpm": "128"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--note_density=0.3", "--condition=note_density=0.4"), "given twice: 0.3 and 0.4"),
        (("--condition=energy=1", "--condition=energy=2"), "energy is given twice"),
        (("--condition=0.4",), "--condition=0.4 must be NAME=VALUE"),
        (("--condition==0.4",), "must be NAME=VALUE"),
        (("--condition=energy=",), "must be NAME=VALUE"),
    ],
)
def test_bad_conditions_are_named(words, message):
    with pytest.raises(ValueError, match=message):
        parse_controls(*words)
