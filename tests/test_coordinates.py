import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from musika_tf.networks import coordinates

SEQ_LEN = 6


@pytest.fixture
def anchors():
    return np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)


def _line(anchors, steps_between):
    """The same by numpy, channel by channel."""
    positions = np.arange(anchors.shape[1]) * steps_between
    steps = np.arange(positions[-1] + 1)
    channels = [[np.interp(steps, positions, c) for c in row.T] for row in anchors]
    return np.stack(channels).transpose(0, 2, 1)


def test_interpolation_is_linear_between_anchors(anchors):
    line = coordinates.interpolate(anchors, 5)
    assert line.shape == (2, 3 * 5 + 1, 3)
    np.testing.assert_allclose(line, _line(anchors, 5), atol=1e-6)


def test_anchors_stand_exactly_at_multiples(anchors):
    np.testing.assert_array_equal(coordinates.interpolate(anchors, 5)[:, ::5], anchors)


@pytest.mark.parametrize("crop_start", [0, 1, SEQ_LEN, 2 * SEQ_LEN + 1])
def test_training_crop_is_a_piece_of_the_line(anchors, crop_start):
    anchors = anchors[:, :3]
    starts = np.array([crop_start, 2], np.int32)
    w_1, w_2 = coordinates.training_coordinates(anchors, starts, SEQ_LEN)
    assert w_1.shape == w_2.shape == (2, SEQ_LEN, 3)
    line = _line(anchors, 2 * SEQ_LEN)
    assert line.shape[1] == 4 * SEQ_LEN + 1  # §3.2
    for row, start in enumerate(starts):
        np.testing.assert_allclose(w_1[row], line[row, start : start + SEQ_LEN], atol=1e-6)
        np.testing.assert_allclose(
            w_2[row], line[row, start + SEQ_LEN : start + 2 * SEQ_LEN], atol=1e-6
        )


def test_crop_starts_reach_both_ends_and_no_further(anchors):
    last_start = coordinates.n_crop_starts(SEQ_LEN) - 1
    starts = np.full(2, last_start, np.int32)
    _, w_2 = coordinates.training_coordinates(anchors[:, :3], starts, SEQ_LEN)
    np.testing.assert_array_equal(w_2[:, -1], anchors[:, 2])


def test_patches_cut_the_line_without_gap_or_overlap(anchors):
    cut = coordinates.patches(anchors, SEQ_LEN)
    assert cut.shape == (2, 6, SEQ_LEN, 3)
    line = coordinates.interpolate(anchors, 2 * SEQ_LEN)
    # The last anchor begins the patch that would come next.
    np.testing.assert_array_equal(tf.reshape(cut, [2, -1, 3]), line[:, :-1])
    np.testing.assert_array_equal(cut[:, ::2, 0], anchors[:, :-1])


def test_adjacent_patches_are_consecutive(anchors):
    cut = coordinates.patches(anchors, SEQ_LEN).numpy()
    line = _line(anchors, 2 * SEQ_LEN)
    for patch in range(cut.shape[1] - 1):
        end = (patch + 1) * SEQ_LEN
        np.testing.assert_allclose(cut[:, patch, -1], line[:, end - 1], atol=1e-6)
        np.testing.assert_allclose(cut[:, patch + 1, 0], line[:, end], atol=1e-6)


def test_patches_of_a_pair_of_anchors_do_not_depend_on_the_others(anchors):
    whole = coordinates.patches(anchors, SEQ_LEN)
    alone = coordinates.patches(anchors[:, 1:3], SEQ_LEN)
    np.testing.assert_array_equal(whole[:, 2:4], alone)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_coordinates_trace_with_unknown_sizes(anchors, jit_compile):
    @tf.function(
        input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None], tf.int32)],
        jit_compile=jit_compile,
    )
    def traced(anchors, starts):
        return (
            coordinates.patches(anchors, SEQ_LEN),
            *coordinates.training_coordinates(anchors, starts, SEQ_LEN),
        )

    starts = np.array([3, 4], np.int32)
    cut, w_1, w_2 = traced(anchors, starts)
    np.testing.assert_allclose(cut, coordinates.patches(anchors, SEQ_LEN), atol=1e-6)
    expected = coordinates.training_coordinates(anchors, starts, SEQ_LEN)
    np.testing.assert_allclose(w_1, expected[0], atol=1e-6)
    np.testing.assert_allclose(w_2, expected[1], atol=1e-6)


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


def test_draws_trace_with_unknown_batch_and_shape():
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([None]),
        ]
    )
    def traced(seeds, n_anchors, truncation):
        return coordinates.truncated_normal(seeds, tf.stack([n_anchors, 5]), truncation)

    seeds, truncation = tf.constant([[1, 2], [3, 4]]), tf.constant([2.0, 1.0])
    np.testing.assert_array_equal(
        traced(seeds, 3, truncation), coordinates.truncated_normal(seeds, [3, 5], truncation)
    )


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
