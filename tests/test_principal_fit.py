"""Principal components fitted to shards: in pieces as in one, and after a kill as without."""

from __future__ import annotations

import numpy as np
import pytest
from comparing import require_same

from musika_tf import audio
from musika_tf.config import INT16_SCALE
from musika_tf.data import datasets
from musika_tf.data.shard_writer import ShardWriter
from musika_tf.data.shards import Shards
from musika_tf.networks import principal
from musika_tf.networks.autoencoder import Autoencoder
from musika_tf.training import principal_fit

# Of the sources, in excerpts and a rest; the third one is too short for a whole excerpt.
LENGTHS = (3.4, 2.0, 0.5, 5.9)


def write_shards(folder, config, lengths=LENGTHS) -> Shards:
    """Sources of noise, each of its own loudness."""
    rng = np.random.default_rng(0)
    with ShardWriter(folder, 2, np.int16, datasets.waveform_metadata(config.audio)) as writer:
        for index, length in enumerate(lengths):
            n_samples = round(length * config.audio.excerpt_n_samples) + config.audio.overlap_size
            noise = rng.uniform(-0.5, 0.5, (n_samples, 2)) * rng.uniform(0.1, 1.0)
            writer.add(f"{index}.wav", audio.to_int16(noise), "train")
    return Shards.open(folder)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, tiny_config) -> Shards:
    return write_shards(tmp_path_factory.mktemp("principal") / "shards", tiny_config)


@pytest.fixture(scope="module")
def autoencoder(tiny_config) -> Autoencoder:
    return Autoencoder(tiny_config)


def constants(autoencoder, level) -> dict[str, np.ndarray]:
    """What is set at both ends of a level."""
    return {
        f"{end}{level}/{variable.path}": variable.numpy()
        for end in ("encoder", "decoder")
        for variable in autoencoder.networks[f"{end}{level}"].non_trainable_variables
    }


def forget(autoencoder, level) -> None:
    """Sets them to something else."""
    for end in ("encoder", "decoder"):
        for variable in autoencoder.networks[f"{end}{level}"].non_trainable_variables:
            variable.assign(np.full(variable.shape, 7.0))


def in_one_piece(autoencoder, level, shards) -> np.ndarray:
    """All training blocks, float64, by a loop over whole excerpts."""
    config, blocks = autoencoder.config, []
    for source in shards.split("train"):
        rows = shards.rows(source).T / INT16_SCALE
        size = config.audio.excerpt_n_samples
        for start in range(0, rows.shape[1] - size - config.audio.overlap_size + 1, size):
            excerpt = rows[:, start : start + size + config.audio.overlap_size]
            features = autoencoder.log_spectrogram(excerpt.astype(np.float32))
            if level == 2:
                features = np.arctanh(np.float64(autoencoder.encode1(features)))
            blocks.append(np.float64(features))
    n_numbers = 1 if level == 1 else config.level2_ratio
    return np.concatenate(blocks).reshape(-1, n_numbers * blocks[0].shape[-1])


@pytest.mark.parametrize("level", [1, 2])
def test_a_fit_over_shards_is_the_fit_of_all_frames(
    tmp_path, autoencoder, shards, monkeypatch, level
):
    monkeypatch.setattr(principal_fit, "_CHUNK_N_EXCERPTS", 2)
    principal_fit.install(autoencoder, level, shards, tmp_path)
    blocks = in_one_piece(autoencoder, level, shards)
    n_excerpts = 2 * sum(int(length) for length in LENGTHS)
    assert len(blocks) == n_excerpts * (64 if level == 1 else 4)
    layer = autoencoder.networks[f"encoder{level}"].get_layer("principal")
    np.testing.assert_allclose(layer.mean, blocks.mean(axis=0), atol=1e-4)
    variances, vectors = np.linalg.eigh(np.cov(blocks.T, bias=True))
    assert float(layer.scale) == pytest.approx(3.0 * np.sqrt(variances[-1]), rel=1e-4)
    # The same space; single components of nearly the same variance may be turned in it.
    found = np.asarray(layer.components)
    kept = np.einsum("sd,st,td->", found, np.cov(blocks.T, bias=True), found)
    assert kept == pytest.approx(variances[-16:].sum(), rel=1e-4)
    first = vectors[:, -1]
    np.testing.assert_allclose(found[:, 0], first * np.sign(first @ found[:, 0]), atol=1e-3)


class KilledError(Exception):
    """In place of a signal."""


def kill_after(monkeypatch, n_chunks) -> None:
    """Lets a fit end in its n-th chunk."""
    add, left = principal.Moments.add, iter(range(n_chunks))

    def add_or_die(moments, rows):
        if next(left, None) is None:
            raise KilledError
        add(moments, rows)

    monkeypatch.setattr(principal.Moments, "add", add_or_die)


def test_a_fit_that_was_killed_ends_as_if_it_had_not_been(
    tmp_path, autoencoder, shards, monkeypatch
):
    monkeypatch.setattr(principal_fit, "_SAVE_N_SOURCES", 1)
    principal_fit.install(autoencoder, 1, shards, tmp_path / "whole")
    expected = constants(autoencoder, 1)
    forget(autoencoder, 1)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_after(patch, n_chunks=2)
        principal_fit.install(autoencoder, 1, shards, tmp_path / "killed")
    read = []
    rows = Shards.rows
    monkeypatch.setattr(Shards, "rows", lambda self, s: read.append(s.name) or rows(self, s))
    principal_fit.install(autoencoder, 1, shards, tmp_path / "killed")
    # It goes on where the last sums were written.
    assert read == ["3.wav"]
    require_same(constants(autoencoder, 1), expected)


def test_sums_of_other_data_are_not_gone_on_with(tmp_path, autoencoder, shards, tiny_config):
    other = write_shards(tmp_path / "other", tiny_config, (4.0, *LENGTHS[1:]))
    principal_fit.install(autoencoder, 1, other, tmp_path / "stage")
    principal_fit.install(autoencoder, 1, shards, tmp_path / "stage")
    found = constants(autoencoder, 1)
    principal_fit.install(autoencoder, 1, shards, tmp_path / "new")
    require_same(found, constants(autoencoder, 1))
