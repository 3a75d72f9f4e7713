"""What starts without TensorFlow; import-linter checks who imports whom."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The processes that `musika-prepare` starts import its program too: with TensorFlow each would take
# seconds and half a gigabyte.
WITHOUT_TENSORFLOW = (
    "musika_tf.config",
    "musika_tf.conditioning.controls",
    "musika_tf.data.batches",
    "flags.system",
    "musika_tf.programs.prepare",
)
TENSORFLOW = {"tensorflow", "keras", "tensorflow_io", "tempocnn"}


def test_preparing_does_not_wait_for_tensorflow():
    code = f"import sys, {', '.join(WITHOUT_TENSORFLOW)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.split())
    assert imported.issuperset(WITHOUT_TENSORFLOW)
    assert not imported & TENSORFLOW
