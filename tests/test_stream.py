"""Streams: from anywhere, in any chunks, steered, they are windows on one computation."""

from __future__ import annotations

import dataclasses
import fractions
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_model import random_autoencoder

from musika_tf.conditioning import controls as controls_lib
from musika_tf.conditioning.controls import Beats, Constant, RandomWalk
from musika_tf.config import NORMALISATIONS
from musika_tf.networks import coordinates
from musika_tf.networks.synthesizer import Synthesizer
from musika_tf.stream import Stream

SEED, TRUNCATION, BPM = (7, 1), 2.0, 131.0
CONTROLS = (RandomWalk(0.0, 1.0), Beats(Constant(BPM)))
TOLERANCE = 1e-5


@dataclasses.dataclass
class Model:
    """A synthesizer as a stream asks it; keeps what the generator was given."""

    synthesizer: Synthesizer

    def __post_init__(self):
        self.config, self.given = self.synthesizer.config, []
        self._traced = {
            name: tf.function(getattr(self.synthesizer, name), reduce_retracing=True)
            for name in ("latents", "decode")
        }

    def latents(self, **inputs):
        self.given.append({name: value.numpy()[0] for name, value in inputs.items()})
        return self._traced["latents"](inputs.pop("coordinates"), **inputs)

    def decode(self, latents, overlap):
        return self._traced["decode"](latents, overlap)


@pytest.fixture(scope="module", params=NORMALISATIONS)
def model(request, beats_config) -> Model:
    """Follows note density and a clock; an excerpt is 4 steps, an anchor stands every 32."""
    keras.utils.set_random_seed(0)
    gan = dataclasses.replace(beats_config.gan, normalisation=request.param)
    config = dataclasses.replace(beats_config, gan=gan)
    return Model(Synthesizer(config, autoencoder=random_autoencoder(config)))


def stream(model, controls=CONTROLS, n_samples=None, start=0.0, max_chunk=None) -> Stream:
    return Stream(model, SEED, TRUNCATION, controls, n_samples, start, max_chunk)


def excerpt_n_samples(model) -> int:
    return model.config.audio.excerpt_n_samples


def excerpt_seconds(model) -> float:
    return excerpt_n_samples(model) / model.config.audio.sample_rate_hz


@pytest.fixture(scope="module")
def whole(model) -> np.ndarray:
    """The first 40 excerpts, 30 s."""
    return np.concatenate(list(stream(model, n_samples=40 * excerpt_n_samples(model))))


# Chunks


@pytest.mark.slow
def test_stream_is_the_piece_of_one_call(model):
    n_samples = 21 * excerpt_n_samples(model) + 5
    controls = (Constant(0.3), Beats(Constant(BPM)))
    music = np.concatenate(list(stream(model, controls, n_samples)))
    waveform, _ = tf.function(model.synthesizer.generate)(
        tf.constant([SEED]),
        tf.constant([n_samples / model.config.audio.sample_rate_hz]),
        tf.constant([TRUNCATION]),
        tf.constant([[0.3, BPM]]),
    )
    assert music.std() > 1e-3
    np.testing.assert_allclose(music, waveform[0], rtol=0, atol=TOLERANCE)


def test_stream_begins_with_one_excerpt_and_then_doubles(model):
    def lengths(**options):
        chunks = itertools.islice(stream(model, **options), 5)
        return [len(chunk) / excerpt_n_samples(model) for chunk in chunks]

    assert lengths() == [1, 2, 5, 8, 8]
    # From the middle of excerpt 5 on there are two and a half up to the next anchor.
    assert lengths(start=5.5 * excerpt_seconds(model)) == [0.5, 2, 4, 4, 8]
    assert lengths(max_chunk=2.9 * excerpt_seconds(model)) == [1, 2, 2, 2, 1]


@pytest.mark.parametrize("max_excerpts", [1, 3])
def test_chunks_of_any_length_are_the_same_music(model, whole, max_excerpts):
    max_chunk, n_samples = max_excerpts * excerpt_seconds(model), len(whole) // 2
    music = np.concatenate(list(stream(model, n_samples=n_samples, max_chunk=max_chunk)))
    np.testing.assert_allclose(music, whole[:n_samples], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("n_samples", [1, 16_384, 16_385, 100_000])
def test_stream_ends_where_it_shall(model, whole, n_samples):
    music = np.concatenate(list(stream(model, n_samples=n_samples)))
    np.testing.assert_array_equal(music, whole[:n_samples])


# Any time at once


@pytest.mark.slow
@pytest.mark.parametrize("excerpts", [0.0, 0.4, 1.0, 1.7, 8.0, 13.3, 24.0, 31.999])
def test_any_time_is_what_playing_up_to_there_gives(model, whole, excerpts):
    start = excerpts * excerpt_seconds(model)
    first = round(start * model.config.audio.sample_rate_hz)
    music = np.concatenate(list(stream(model, n_samples=100_000, start=start)))
    np.testing.assert_allclose(music, whole[first : first + 100_000], rtol=0, atol=TOLERANCE)


def test_an_hour_is_opened_at_once(model):
    model.given.clear()
    later = np.concatenate(list(stream(model, n_samples=30_000, start=3600.0)))
    assert sum(len(window["coordinates"]) for window in model.given) < 200
    before = np.concatenate(list(stream(model, n_samples=5 * 22_050 + 30_000, start=3595.0)))
    np.testing.assert_allclose(later, before[5 * 22_050 :], rtol=0, atol=TOLERANCE)


def test_the_thousandth_hour_is_as_exact_as_the_first(model):
    config, start_seconds = model.config, 3_600_000
    gan, hop, rate_hz = config.gan, config.latent_hop_size, config.audio.sample_rate_hz
    model.given.clear()
    next(stream(model, (Constant(0.3), Beats(Constant(BPM))), start=start_seconds))
    given = model.given[0]
    assert given["start"] // gan.seq_len == start_seconds * rate_hz // hop // gan.seq_len
    steps = int(given["start"]) - gan.context_n_steps + np.arange(len(given["coordinates"]))
    interval, before = 2 * gan.seq_len, 0 if gan.normalisation == "patch" else 1
    first, n_anchors = steps[0] // interval, len(steps) // interval + 2
    draws = tf.constant([SEED]), first + before, n_anchors, gan.anchor_depth
    anchors = coordinates.draw_anchors(*draws, tf.constant([TRUNCATION]))[0].numpy()
    at_anchors = (first + np.arange(n_anchors)) * interval
    line = [np.interp(steps, at_anchors, column) for column in anchors.T]
    np.testing.assert_allclose(given["coordinates"], np.transpose(line), rtol=0, atol=1e-6)
    # Twice the centres, in whole samples.
    samples = config.audio.overlap_size // 2 * 2 + hop * (2 * steps + 1)
    beats = [fractions.Fraction(int(n)) * int(BPM) / (2 * 60 * rate_hz) for n in samples]
    in_bar = [float(beat % 4) for beat in beats]
    np.testing.assert_allclose(given["conditioning"][:, 1], in_bar, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1.0}, "start_seconds=-1.0 must be from 0 to 4e"),
        ({"start": 1e7}, "start_seconds=10000000.0 must be"),
        ({"start": float("nan")}, "start_seconds=nan"),
        ({"max_chunk": 0.7}, r"max_chunk_seconds=0.7 must be at least 0\.743"),
        ({"max_chunk": float("nan")}, "max_chunk_seconds=nan"),
    ],
)
def test_bad_times_are_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        stream(model, **options)


# Steering


STEERED_EXCERPT = 7
OTHER_STYLE = (8, 8)
OTHER_CONTROLS = (Constant(0.9), Beats(Constant(70.0)))


def steered(model, **changes) -> np.ndarray:
    """20 excerpts in chunks of 0.743 s, steered after the seventh."""
    chunks = stream(
        model, n_samples=20 * excerpt_n_samples(model), max_chunk=excerpt_seconds(model)
    )
    before = list(itertools.islice(chunks, STEERED_EXCERPT))
    model.given.clear()
    chunks.steer(**changes)
    return np.concatenate([*before, *chunks])


@pytest.mark.parametrize(
    "changes",
    [
        {"style_seed": OTHER_STYLE},
        {"truncation": 0.5},
        {"controls": OTHER_CONTROLS},
        {"controls": (CONTROLS[0], OTHER_CONTROLS[1])},
    ],
    ids=["style", "truncation", "controls", "tempo"],
)
def test_what_was_heard_stays_and_the_change_is_heard_soon(model, whole, changes):
    music = steered(model, **changes)
    n_heard = STEERED_EXCERPT * excerpt_n_samples(model)
    np.testing.assert_allclose(music[:n_heard], whole[:n_heard], rtol=0, atol=TOLERANCE)
    soon = slice(n_heard, n_heard + round(1.5 * model.config.audio.sample_rate_hz))
    assert np.abs(music[soon] - whole[soon]).max() > 100 * TOLERANCE


def test_steering_is_one_computation_of_what_was_and_what_is(model):
    """The latents from there on are those of one window whose inputs change at that step."""
    config, context = model.config, model.config.gan.context_n_steps
    step, n_steps = STEERED_EXCERPT * config.excerpt_n_latents, 20 * config.excerpt_n_latents
    music = steered(model, style_seed=OTHER_STYLE, controls=OTHER_CONTROLS)
    size, truncation = n_steps + 2 * context, tf.constant([TRUNCATION])
    styles = [
        coordinates.draw_style(tf.constant([seed]), config.gan.style_depth, truncation)
        for seed in (SEED, OTHER_STYLE)
    ]
    is_new = np.arange(-context, n_steps + context) >= step
    if config.gan.normalisation == "patch":
        # Each patch has one style: the new one as soon as a part of it follows that.
        is_new_style = np.arange(n_steps) >= step // config.gan.seq_len * config.gan.seq_len
    else:
        is_new_style = is_new
    conditioning = [
        controls_lib.values(controls, config, SEED, -context, size)
        for controls in (CONTROLS, OTHER_CONTROLS)
    ]
    # At that step the beats are those of 131 BPM, from there on there are 70 a minute.
    seconds = (np.arange(-context, n_steps + context) - step) * 4096 / 22_050
    conditioning[1][:, 1] = (conditioning[0][is_new, 1][0] + seconds * 70.0 / 60.0) % 4.0
    line = coordinates.draw_line(config.gan, tf.constant([SEED]), -context, size, truncation)
    latents = model.synthesizer.latents(
        line,
        tf.where(is_new_style[:, np.newaxis], styles[1], styles[0])[tf.newaxis],
        tf.zeros([1], tf.int32),
        tf.constant(np.where(is_new[:, np.newaxis], conditioning[1], conditioning[0])[None]),
    )
    expected, _ = model.decode(latents[:, step:], model.synthesizer.no_overlap(1))
    # What the excerpt before leaves over was made before.
    n_heard = STEERED_EXCERPT * excerpt_n_samples(model) + config.audio.overlap_size
    found = music[n_heard:]
    np.testing.assert_allclose(
        found, expected[0, config.audio.overlap_size :], rtol=0, atol=TOLERANCE
    )


def test_beats_keep_their_phase(model):
    steered(model, controls=OTHER_CONTROLS)
    config = model.config
    first = model.given[0]
    steps = first["start"] - config.gan.context_n_steps + np.arange(len(first["conditioning"]))
    moves = np.diff(first["conditioning"][:, 1]) % 4.0
    step_minutes = 4096 / 22_050 / 60.0
    at = steps[1:] - STEERED_EXCERPT * config.excerpt_n_latents
    np.testing.assert_allclose(moves[at <= 0], BPM * step_minutes, atol=1e-4)
    np.testing.assert_allclose(moves[at > 0], 70.0 * step_minutes, atol=1e-4)
    assert np.any(at <= 0) and np.any(at > 0)


def test_steering_twice_is_the_last_word(model):
    def play(*turns):
        chunks = stream(model, n_samples=60_000, max_chunk=excerpt_seconds(model))
        head = next(chunks)
        for turn in turns:
            chunks.steer(**turn)
        return np.concatenate([head, *chunks])

    last = {"style_seed": OTHER_STYLE, "controls": OTHER_CONTROLS}
    twice = play({"style_seed": (9, 9), "controls": (Constant(0.0), Beats(Constant(200.0)))}, last)
    np.testing.assert_allclose(twice, play(last), rtol=0, atol=TOLERANCE)


def test_controls_must_be_those_of_the_model(model):
    chunks = stream(model, controls=())
    with pytest.raises(ValueError, match="0 controls for the signals .*: note_density, beats"):
        next(chunks)
    with pytest.raises(ValueError, match="1 controls for the signals .*: note_density, beats"):
        stream(model).steer(controls=CONTROLS[:1])
