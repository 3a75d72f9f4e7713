"""What is installed, and what starts without TensorFlow; import-linter checks who imports whom."""

import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("musika_tf", "flags", "export")
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


def test_setup_installs_every_package():
    setup_call = next(
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "setup"
    )
    keywords = {keyword.arg: keyword.value for keyword in setup_call.keywords}
    folders = {path.parent for top in PACKAGES for path in (ROOT / top).rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(ast.literal_eval(keywords["packages"])) == packages


def test_preparing_does_not_wait_for_tensorflow():
    code = f"import sys, {', '.join(WITHOUT_TENSORFLOW)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.split())
    assert imported.issuperset(WITHOUT_TENSORFLOW)
    assert not imported & TENSORFLOW
