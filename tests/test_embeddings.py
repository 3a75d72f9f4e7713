"""Embeddings: a tagger against the graph in its own package, and what stands for VGGish."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from musika_tf.evaluation import embeddings

needs_musicnn = pytest.mark.skipif(
    importlib.util.find_spec("musicnn") is None, reason=f"needs {embeddings.INSTALL}"
)


def in_its_own_graph(name: str, spectrograms: np.ndarray) -> np.ndarray:
    """The penultimate layer as the TF1 graph beside the checkpoint has it, without training."""
    meta = tf.compat.v1.MetaGraphDef()
    meta.ParseFromString((embeddings._folder(name) / ".meta").read_bytes())
    layer = "model/batch_normalization_10/batchnorm/add_1"
    graph_def = tf.compat.v1.graph_util.extract_sub_graph(meta.graph_def, [layer])
    for node in graph_def.node:
        # Of a TensorFlow that thought otherwise about a gradient.
        node.attr.pop("_output_shapes", None)
    given = {f"{key}/read:0": x.numpy() for key, x in embeddings.read_weights(name).items()}
    with tf.Graph().as_default() as graph:
        (output,) = tf.import_graph_def(graph_def, return_elements=[f"{layer}:0"], name="")
        names = {f"{operation.name}:0" for operation in graph.get_operations()}
        feed = {key: value for key, value in given.items() if key in names}
        feed |= {"model/Placeholder:0": spectrograms, "model/Placeholder_2:0": False}
        with tf.compat.v1.Session() as session:
            return session.run(output, feed)


@needs_musicnn
@pytest.mark.parametrize("name", embeddings.TAGGERS)
def test_a_tagger_is_that_of_its_package(name):
    spectrograms = np.random.default_rng(0).gamma(1.0, 1.0, (2, 187, 96)).astype(np.float32)
    found = embeddings.penultimate(embeddings.read_weights(name), tf.constant(spectrograms))
    np.testing.assert_allclose(found, in_its_own_graph(name, spectrograms), atol=2e-5)


@needs_musicnn
def test_a_vector_a_second_of_that_second_alone():
    tagger = embeddings.tagger("MSD_musicnn")
    noise = np.random.default_rng(0).normal(0, 0.1, (int(40.9 * 16_000), 2)).astype(np.float32)
    found = tagger(noise, 16_000)
    assert found.shape == (40, 200)
    second = slice(36 * 16_000, 37 * 16_000)
    np.testing.assert_allclose(found[36], tagger(noise[second], 16_000)[0], atol=1e-4)
    assert tagger(noise[:9000], 16_000).shape == (0, 200)
    assert len(tagger.weights_sha256) == 64


def test_what_is_not_there_is_named(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="there is no tagger MSD_vgg: there are MSD_musicnn, MTT"):
        embeddings.tagger("MSD_vgg")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="not installed: `pip install --no-deps musicnn==0.1.0`"):
        embeddings.tagger("MSD_musicnn")
    with pytest.raises(ValueError, match="no embedding"):
        embeddings.open_all([])
    with pytest.raises(ValueError, match="holds no SavedModel: --vggish_dir takes"):
        embeddings.open_all([], tmp_path)


class Windows(tf.Module):
    """What VGGish gives, of arithmetic: mean and deviation of each 0.96 s."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, waveform):
        windows = tf.signal.frame(waveform, 15_360, 15_360)
        return tf.stack(tf.nn.moments(windows, axes=[1]), axis=1)


def test_a_saved_model(tmp_path):
    tf.saved_model.save(Windows(), str(tmp_path / "vggish"))
    (embedding,) = embeddings.open_all([], tmp_path / "vggish")
    waveform = np.random.default_rng(0).normal(0, 0.1, (22_050 * 2, 2)).astype(np.float32)
    found = embedding(np.repeat(waveform[:, :1], 2, axis=1) + 0.5, 22_050)
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found[:, 0], 0.5, atol=0.01)
    # Of white noise the resampler keeps what is below 8 kHz.
    np.testing.assert_allclose(found[:, 1], 0.01 * 16_000 / 22_050, rtol=0.1)


def test_another_saved_model_is_refused(tmp_path):
    class Sums(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def __call__(self, waveform):
            return tf.reduce_sum(waveform)

    tf.saved_model.save(Sums(), str(tmp_path))
    with pytest.raises(ValueError, match=r"gives \(\) for 2 s: it must be \[n_windows, n_chann"):
        embeddings.vggish(tmp_path)
