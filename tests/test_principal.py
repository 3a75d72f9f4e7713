"""Principal paths: components against numpy's, the code and its inverse, untrained levels."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from musika_tf.networks import principal
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.networks.principal import Moments, PrincipalComponents

N_FEATURES, N_FRAMES, DEPTH = 6, 4, 5


def correlated(n_rows: int, size: int, seed: int = 0) -> np.ndarray:
    """Rows whose variances differ by direction and whose mean is not zero."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n_rows, size)) * 0.9 ** np.arange(size)
    return mixed @ np.linalg.qr(rng.normal(size=(size, size)))[0] + rng.normal(size=size)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return correlated(500, N_FEATURES * N_FRAMES)


@pytest.fixture(scope="module")
def found(rows) -> PrincipalComponents:
    moments = Moments(rows.shape[1])
    for part in np.array_split(rows, 7):
        moments.add(part)
    return PrincipalComponents.of(moments, DEPTH, N_FEATURES)


def test_components_are_those_of_the_covariance(rows, found):
    variances, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.deviations, np.sqrt(variances[:-6:-1]), rtol=1e-5)
    assert found.share == pytest.approx(variances[-DEPTH:].sum() / variances.sum(), rel=1e-6)
    assert found.scale == pytest.approx(3.0 * np.sqrt(variances[-1]), rel=1e-5)
    for column, expected in zip(found.components.T, vectors.T[::-1], strict=False):
        assert column[np.abs(column).argmax()] > 0.0
        np.testing.assert_allclose(column, expected * np.sign(expected @ column), atol=1e-5)
    frames = rows.reshape(-1, N_FEATURES)
    np.testing.assert_allclose(found.feature_mean, frames.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.feature_deviation, frames.std(axis=0), rtol=1e-5)


def test_too_few_rows_and_silence_are_reported():
    moments = Moments(8)
    moments.add(correlated(4, 8))
    with pytest.raises(ValueError, match="4 training blocks are too few for 4 principal"):
        PrincipalComponents.of(moments, 4, 8)
    silence = Moments(8)
    silence.add(np.full((100, 8), -1.0))
    with pytest.raises(ValueError, match="silent throughout"):
        PrincipalComponents.of(silence, 4, 8)


@pytest.fixture
def ends() -> tuple[keras.Model, keras.Model]:
    """A level without networks, but with all the constants that networks need."""
    frames, code = keras.Input((None, N_FEATURES)), keras.Input((None, DEPTH))
    read = principal.Standardization(name="standardization")
    encoded = principal.PrincipalEncoding(N_FRAMES, DEPTH, name="principal")(frames)
    encoder = keras.Model(frames, [encoded, principal.Gain(name="gain")(read(frames))])
    read = principal.Standardization(name="standardization")
    decoded = principal.PrincipalDecoding(N_FRAMES, N_FEATURES, name="principal")(code)
    decoder = keras.Model(code, [decoded, principal.Gain(name="gain")(read(code))])
    return encoder, decoder


def test_decoding_a_code_is_the_projection(rows, found, ends):
    encoder, decoder = ends
    principal.install(found, encoder, decoder)
    frames = rows[:6].reshape(2, 3 * N_FRAMES, N_FEATURES).astype(np.float32)
    code, _ = encoder(frames)
    centred = rows[:6] - rows.mean(axis=0)
    expected = centred @ found.components / found.scale
    np.testing.assert_allclose(np.reshape(code, (6, DEPTH)), expected, atol=1e-5)
    decoded, _ = decoder(code)
    assert decoded.shape == frames.shape
    projected = rows.mean(axis=0) + centred @ found.components @ found.components.T
    np.testing.assert_allclose(np.reshape(decoded, projected.shape), projected, atol=1e-5)
    assert np.abs(projected - rows[:6]).max() > 0.1


def test_before_there_are_data_both_ends_have_one_orthonormal_code(ends):
    encoder, decoder = ends
    code = np.random.default_rng(0).normal(size=(1, 2, DEPTH)).astype(np.float32)
    np.testing.assert_allclose(encoder(decoder(code)[0])[0], code, atol=1e-5)


def test_networks_read_unit_spread_and_write_that_of_what_they_correct(rows, found, ends):
    encoder, decoder = ends
    principal.install(found, encoder, decoder)
    code, read = encoder(rows.reshape(1, -1, N_FEATURES).astype(np.float32))
    read = read.numpy()[0] / float(encoder.get_layer("gain").gain)
    np.testing.assert_allclose(read.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(read.std(axis=0), 1.0, rtol=1e-4)
    written = np.sqrt(np.mean(np.var(code[0], axis=0)))
    assert float(encoder.get_layer("gain").gain) == pytest.approx(written, rel=1e-4)
    read = decoder(code)[1].numpy()[0] / float(decoder.get_layer("gain").gain)
    np.testing.assert_allclose(read.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(read.std(axis=0), 1.0, rtol=1e-4)
    written = np.sqrt(np.mean(np.var(rows.reshape(-1, N_FEATURES), axis=0)))
    assert float(decoder.get_layer("gain").gain) == pytest.approx(written, rel=1e-4)


def test_channels_that_hardly_move_are_not_magnified_without_limit(found, ends):
    deviations = np.array([1.0, 0.5, 1e-3, 1e-9, 0.0], np.float32)
    principal.install(dataclasses.replace(found, deviations=deviations), *ends)
    read = ends[1].get_layer("standardization").deviation.numpy()
    np.testing.assert_allclose(read, np.array([1.0, 0.5, 0.01, 0.01, 0.01]) / 3.0, rtol=1e-5)


def test_before_tanh_is_the_inverse_of_tanh_and_finite():
    x = np.linspace(-2.9, 2.9, 59, dtype=np.float32)
    np.testing.assert_allclose(principal.before_tanh(np.tanh(x)), x, atol=1e-4)
    ends = principal.before_tanh(np.array([-1.0, 1.0], np.float32)).numpy()
    np.testing.assert_allclose(ends, np.arctanh([-0.995, 0.995]), atol=1e-4)


@pytest.mark.parametrize("level", [1, 2])
def test_an_untrained_level_keeps_what_its_components_keep(tiny_config, level):
    """Through tanh and artanh; at level 2 over blocks of frames."""
    autoencoder = Autoencoder(tiny_config)
    sizes = tiny_config.autoencoder
    n_features = tiny_config.audio.n_bins if level == 1 else sizes.level1_latent_depth
    n_frames = 1 if level == 1 else tiny_config.level2_ratio
    frames = correlated(20 * 64, n_features).reshape(20, 64, n_features) / 4.0
    if level == 2:
        # Neighbours in time are alike.
        frames = (frames + np.roll(frames, 1, axis=1)) / 2.0
    blocks = frames.reshape(-1, n_frames * n_features)
    moments = Moments(blocks.shape[1])
    moments.add(blocks)
    components = PrincipalComponents.of(moments, 16, n_features)
    encoder, decoder = (autoencoder.networks[f"{end}{level}"] for end in ("encoder", "decoder"))
    principal.install(components, encoder, decoder)
    centred = blocks - blocks.mean(axis=0)
    projected = centred @ components.components @ components.components.T + blocks.mean(axis=0)
    projected = projected.reshape(frames.shape)
    if level == 1:
        decoded, _ = decoder(encoder(frames.astype(np.float32)))
    else:
        latents = np.tanh(frames).astype(np.float32)
        decoded = principal.before_tanh(decoder(encoder(latents)))
    np.testing.assert_allclose(decoded, projected, atol=3e-4)
    assert np.abs(projected - frames).mean() > 3e-3
