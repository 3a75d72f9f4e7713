"""A SavedModel of a few lines, with signatures of every kind that a server meets."""

from __future__ import annotations

import pathlib

import tensorflow as tf


def save(version_dir: pathlib.Path, factor: float = 2.0) -> pathlib.Path:
    """Saves the toy; `factor` is what tells its versions apart."""
    toy = _Toy(factor)
    signatures = {
        "serving_default": _traced(toy.scale, x=tf.TensorSpec([None, 2])),
        "several": _traced(
            toy.several, x=tf.TensorSpec([None, 2]), n=tf.TensorSpec([None], tf.int32)
        ),
        "text": _traced(toy.text, words=tf.TensorSpec([None], tf.string)),
        "checked": _traced(toy.checked, x=tf.TensorSpec(None)),
        "types": _traced(
            toy.types, flag=tf.TensorSpec([None], tf.bool), wide=tf.TensorSpec([None], tf.int64)
        ),
        "inverse": _traced(toy.inverse, x=tf.TensorSpec([None])),
        "zeros": _traced(toy.zeros, n=tf.TensorSpec([1], tf.int32)),
        "slow": _traced(toy.slow, n=tf.TensorSpec([1], tf.int32)),
    }
    tf.saved_model.save(toy, str(version_dir), signatures=signatures)
    return version_dir


def _traced(function, **specs):
    named = {name: tf.TensorSpec(s.shape, s.dtype, name) for name, s in specs.items()}
    return tf.function(function, autograph=False).get_concrete_function(**named)


class _Toy(tf.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = tf.Variable(factor)

    def scale(self, x):
        return {"y": x * self.factor}

    def several(self, x, n):
        return {"y": x * self.factor, "next": n + 1}

    def text(self, words):
        return {"upper": tf.strings.upper(words), "wav_bytes": tf.strings.join([words, b"\xff"])}

    def checked(self, x):
        with tf.control_dependencies(
            [tf.debugging.Assert(x > 0, ["`x` must be positive, not", x])]
        ):
            return {"y": tf.identity(x)}

    def types(self, flag, wide):
        return {"not": tf.logical_not(flag), "wide": wide, "half": tf.cast(wide, tf.float16)}

    def inverse(self, x):
        return {"y": self.factor / x}

    def zeros(self, n):
        return {"y": tf.zeros([1, n[0]])}

    def slow(self, n):
        """Some microseconds a step."""
        count = tf.while_loop(
            lambda i: i < n[0], lambda i: [i + 1], [tf.constant(0)], parallel_iterations=1
        )
        return {"count": tf.reshape(count, [1])}
