import dataclasses
import functools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from musika_tf.config import GanConfig
from musika_tf.networks import coordinates

SEQ_LEN = 6
STEP = GanConfig(
    anchor_depth=3, seq_len=SEQ_LEN, generator_widths=(8, 8), latent_discriminator_widths=(8,)
)
PATCH = dataclasses.replace(STEP, normalisation="patch")


@pytest.fixture
def anchors():
    return np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def expected_line(anchors, start, n_steps):
    """The same by numpy, channel by channel; it holds the ends too."""
    positions = np.arange(anchors.shape[1]) * 2 * SEQ_LEN
    steps = start + np.arange(n_steps)
    channels = [[np.interp(steps, positions, c) for c in row.T] for row in anchors]
    return np.stack(channels).transpose(0, 2, 1)


@pytest.mark.parametrize(("start", "n_steps"), [(0, 49), (7, 5), (-9, 20), (44, 20), (-30, 3)])
def test_the_line_is_linear_between_anchors_and_held_beyond_them(anchors, start, n_steps):
    line = coordinates.line(STEP, anchors, start, n_steps)
    assert line.shape == (2, n_steps, 3)
    np.testing.assert_allclose(line, expected_line(anchors, start, n_steps), atol=1e-6)


def test_anchors_stand_exactly_at_multiples(anchors):
    line = coordinates.line(STEP, anchors, 0, 8 * SEQ_LEN + 1)
    np.testing.assert_array_equal(line[:, :: 2 * SEQ_LEN], anchors)


def test_steps_between_two_anchors_do_not_depend_on_the_others(anchors):
    whole = coordinates.line(STEP, anchors, 2 * SEQ_LEN, 2 * SEQ_LEN)
    alone = coordinates.line(STEP, anchors[:, 1:3], 0, 2 * SEQ_LEN)
    np.testing.assert_array_equal(whole, alone)


def test_rows_may_start_at_steps_of_their_own(anchors):
    line = coordinates.line(STEP, anchors, np.array([3, 20], np.int32), 7)
    for row, start in enumerate((3, 20)):
        np.testing.assert_array_equal(line[row], coordinates.line(STEP, anchors, start, 7)[row])


def test_training_starts_where_inference_does():
    """At an anchor or halfway; a generator that is normalised over patches starts anywhere."""
    assert list(coordinates.training_starts(STEP)) == [0, SEQ_LEN]
    assert list(coordinates.training_starts(PATCH)) == list(range(2 * SEQ_LEN))


@pytest.mark.parametrize(("sizes", "context"), [(STEP, 8), (PATCH, 0)])
def test_training_windows_come_with_their_context(anchors, sizes, context):
    assert sizes.context_n_steps == context
    starts = np.array([0, SEQ_LEN], np.int32)
    windows = coordinates.training_windows(sizes, anchors, starts)
    assert windows.shape == (2, 2 * SEQ_LEN + 2 * context, 3)
    for row, start in enumerate(starts + 2 * SEQ_LEN - context):
        expected = expected_line(anchors, start, windows.shape[1])[row]
        np.testing.assert_allclose(windows[row], expected, atol=1e-6)


def test_no_training_window_reaches_beyond_its_anchors():
    for n_widths in range(1, 8):
        sizes = GanConfig(
            seq_len=128, generator_widths=(8,) * n_widths, latent_discriminator_widths=(8,)
        )
        assert sizes.context_n_steps <= 2 * sizes.seq_len
        last = 2 * sizes.seq_len + coordinates.training_starts(sizes)[-1] + 2 * sizes.seq_len
        last_anchor = (coordinates.N_TRAINING_ANCHORS - 1) * 2 * sizes.seq_len
        assert last + sizes.context_n_steps - 1 < last_anchor


@pytest.mark.parametrize("jit_compile", [False, True])
def test_coordinates_trace_with_unknown_sizes(anchors, jit_compile):
    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None], tf.int32)],
        jit_compile=jit_compile,
    )
    def traced(anchors, starts):
        windows = coordinates.training_windows(STEP, anchors, starts)
        return windows, coordinates.position_features(starts, SEQ_LEN)

    starts = np.array([3, 4], np.int32)
    windows, features = traced(anchors, starts)
    expected = coordinates.training_windows(STEP, anchors, starts)
    np.testing.assert_allclose(windows, expected, atol=1e-6)
    expected = coordinates.position_features(starts, SEQ_LEN)
    np.testing.assert_allclose(features, expected, atol=1e-6)


def test_position_features_are_waves_of_the_interval():
    steps = np.arange(-24, 24, dtype=np.int32)
    features = coordinates.position_features(steps, SEQ_LEN).numpy()
    n_waves = np.array([1, 2, 3, 4, 6])  # Of 1, 2, 3, 4, 6, 8, 12, … those up to seq_len.
    angles = 2 * np.pi * n_waves * steps[:, None] / 12
    assert features.shape == (48, coordinates.n_position_features(SEQ_LEN)) == (48, 10)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(features, expected, atol=1e-6)


def test_position_features_are_continuous_across_borders():
    """No step changes them more than the fastest wave of the interval can, and days change none."""
    steps = np.arange(-300, 300, dtype=np.int32)
    features = coordinates.position_features(steps, 64).numpy()
    n_waves = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64] * 2)
    largest = 2 * np.sin(np.pi * n_waves / 128)
    assert (np.abs(np.diff(features, axis=0)) <= largest + 1e-5).all()
    much_later = coordinates.position_features(steps + 128 * 10_000_000, 64)
    np.testing.assert_array_equal(features, much_later)


@pytest.mark.parametrize("truncation", [0.3, 1.0, 2.0, 4.0])
def test_draws_are_a_truncated_normal(truncation):
    drawn = coordinates.truncated_normal(
        tf.constant([[1, 2]]), [20_000], tf.constant([truncation])
    ).numpy()[0]
    assert np.abs(drawn).max() <= truncation
    expected = scipy.stats.truncnorm(-truncation, truncation)
    assert scipy.stats.kstest(drawn, expected.cdf).pvalue > 0.01
    quantiles = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(
        np.quantile(drawn, quantiles), expected.ppf(quantiles), atol=0.03 * truncation
    )


@pytest.mark.parametrize("truncation", [1e-4, 10.0, 1e6])
def test_extreme_truncations_stay_finite_and_in_range(truncation):
    drawn = coordinates.truncated_normal(
        tf.constant([[1, 2]]), [5000], tf.constant([truncation])
    ).numpy()
    assert np.isfinite(drawn).all()
    assert np.abs(drawn).max() <= truncation
    assert np.abs(drawn).max() > 0.9 * min(truncation, 3.5)


def test_a_row_depends_on_its_seed_and_truncation_alone():
    seeds = tf.constant([[1, 2], [3, 4], [1, 2]])
    together = coordinates.truncated_normal(seeds, [3, 5], tf.constant([2.0, 1.0, 2.0]))
    alone = coordinates.truncated_normal(seeds[1:2], [3, 5], tf.constant([1.0]))
    np.testing.assert_array_equal(together[1:2], alone)
    np.testing.assert_array_equal(together[0], together[2])
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_rows_are_not_correlated():
    seeds = tf.stack([tf.zeros(50, tf.int32), tf.range(50)], axis=1)
    drawn = coordinates.truncated_normal(seeds, [2000], tf.fill([50], 2.0)).numpy()
    correlations = np.corrcoef(drawn) - np.eye(50)
    assert np.abs(correlations).max() < 0.12


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_longer_draw_begins_with_the_shorter_one(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def drawn(n_anchors):
        seeds = tf.constant([[7, 8], [9, 10]])
        return coordinates.truncated_normal(seeds, [n_anchors, 5], tf.constant([2.0, 1.0]))

    longest = drawn(151)
    for n_anchors in (3, 50):
        np.testing.assert_array_equal(drawn(n_anchors), longest[:, :n_anchors])


# Draws


def draw_anchors(seeds, start, n_anchors, truncation=2.0):
    truncation = tf.fill([len(seeds)], truncation)
    return coordinates.draw_anchors(tf.constant(seeds), start, n_anchors, 64, truncation).numpy()


def test_anchor_depends_on_seed_and_index_only():
    many = draw_anchors([[1, 0], [1, 1], [2, 0]], 0, 5)
    assert many.shape == (3, 5, 64)
    one, four = draw_anchors([[1, 1]], 3, 1)[0, 0], draw_anchors([[2, 0], [1, 0]], 1, 2)
    # How a value is rounded may depend on where it stands in the array: by two ulps in TF 2.21.
    np.testing.assert_allclose(one, many[1, 3], rtol=0, atol=1e-6)
    np.testing.assert_allclose(four, many[[2, 0], 1:3], rtol=0, atol=1e-6)


def test_draws_differ_and_are_cut_normal_draws():
    anchors = draw_anchors([[seed, index] for seed in range(4) for index in range(4)], 0, 16)
    assert len(np.unique(anchors.reshape(-1, 64), axis=0)) == 16 * 16
    assert np.abs(anchors).max() <= 2.0
    # A normal cut at ±2 has variance 1 - 4·φ(2) / (2·Φ(2) - 1) = 0.7737.
    assert anchors.mean() == pytest.approx(0.0, abs=0.02)
    assert anchors.var() == pytest.approx(0.7737, abs=0.02)
    assert np.abs(np.corrcoef(anchors[0])[np.triu_indices(16, 1)]).max() < 0.6


def test_style_is_none_of_the_anchors():
    seed, truncation = tf.constant([[5, 0]]), tf.constant([2.0])
    style = coordinates.draw_style(seed, 64, truncation).numpy()[0]
    anchors = draw_anchors([[5, 0]], 0, 50)[0]
    assert np.abs(np.abs(anchors - style).max(axis=1)).min() > 0.5


# A piece


def draw_line(sizes, start, n_steps):
    seeds, truncation = tf.constant([[1, 0], [2, 5]]), tf.fill([2], 2.0)
    return coordinates.draw_line(sizes, seeds, start, n_steps, truncation)


@pytest.mark.parametrize(("sizes", "first"), [(STEP, -8), (PATCH, 0)])
def test_windows_are_parts_of_one_endless_line(sizes, first):
    whole = draw_line(sizes, first, 100)
    for start, n_steps in ((first, 3), (0, 12), (5, 30), (12, 12), (61, 31)):
        window = draw_line(sizes, start, n_steps)
        expected = whole[:, start - first : start - first + n_steps]
        np.testing.assert_allclose(window, expected, rtol=0, atol=1e-6)


def test_a_piece_begins_at_an_anchor_that_its_seed_gives():
    """Normalised over patches, the first one that is drawn; else there is one before it."""
    drawn = coordinates.draw_anchors(
        tf.constant([[1, 0], [2, 5]]), 0, 3, STEP.anchor_depth, tf.fill([2], 2.0)
    )
    at_patches = draw_line(PATCH, 0, 13).numpy()[:, [0, 12]]
    np.testing.assert_allclose(at_patches, drawn[:, :2], atol=1e-6)
    around_the_start = draw_line(STEP, -12, 25).numpy()[:, [0, 12, 24]]
    np.testing.assert_allclose(around_the_start, drawn, atol=1e-6)


def test_a_line_traces_with_unknown_start_and_length():
    signature = [tf.TensorSpec([], tf.int32)] * 2
    traced = tf.function(functools.partial(draw_line, STEP), input_signature=signature)
    for start, n_steps in ((-8, 20), (30, 7)):
        expected = draw_line(STEP, start, n_steps)
        np.testing.assert_allclose(traced(start, n_steps), expected, atol=1e-6)
