"""The data flows one way: who may import whom, and what shipped code never does.

Everything is read from the source text; nothing is imported.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator, Mapping

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("musika_tf", "flags", "export")

# A module may import those above it. Modules of one line may not import each other, except that a
# name ending in `.*` stands for all other modules of a package, which may.
ORDER = (
    (
        "musika_tf",
        "musika_tf.conditioning",
        "musika_tf.evaluation",
        "musika_tf.training",
        "musika_tf.programs",
        "flags",
        "export",
        "export.serving",
    ),
    ("musika_tf.config",),
    ("musika_tf.audio",),
    ("musika_tf.conditioning.note_density",),
    ("musika_tf.conditioning.labels",),
    ("musika_tf.conditioning.signals",),
    ("musika_tf.spectral",),
    ("musika_tf.spectral_norm",),
    ("musika_tf.layers",),
    ("musika_tf.autoencoder",),
    ("musika_tf.coordinates",),
    ("musika_tf.gan",),
    ("musika_tf.losses",),
    ("musika_tf.shards",),
    ("musika_tf.conditioning.latent_labels",),
    ("musika_tf.batches",),
    ("musika_tf.datasets",),
    ("musika_tf.conditioning.onsets", "musika_tf.conditioning.tempo"),
    ("musika_tf.annotation",),
    ("musika_tf.preparation",),
    ("musika_tf.figures",),
    ("musika_tf.generation",),
    ("musika_tf.evaluation.statistics", "musika_tf.evaluation.report_files"),
    ("musika_tf.evaluation.reconstruction", "musika_tf.evaluation.music"),
    ("musika_tf.evaluation.adherence",),
    ("musika_tf.evaluation.adherence_pictures",),
    ("musika_tf.evaluation.adherence_report",),
    ("musika_tf.training.distribution", "musika_tf.training.precision"),
    ("musika_tf.training.trainer",),
    ("musika_tf.training.autoencoder_trainer", "musika_tf.training.gan_trainer"),
    ("musika_tf.training.checkpoint", "musika_tf.training.pipeline"),
    ("musika_tf.training.lowering", "musika_tf.training.lowered_step"),
    ("musika_tf.training.summaries",),
    ("musika_tf.training.curves",),
    ("musika_tf.training.loop",),
    ("musika_tf.training.stages",),
    ("musika_tf.encoding",),
    ("musika_tf.synthesis",),
    ("musika_tf.live", "musika_tf.release"),
    ("musika_tf.evaluation.quality",),
    ("musika_tf.evaluation.quality_report",),
    ("musika_tf.runs",),
    # Runs where there is no project: imports nothing of it.
    ("export.standalone.*",),
    ("export.*",),
    ("export.serving.settings", "export.serving.errors"),
    ("export.serving.model", "export.serving.metrics"),
    ("export.serving.json_tensors", "export.serving.proto_tensors"),
    ("export.serving.versions",),
    ("export.serving.engine",),
    ("export.serving.rest", "export.serving.grpc_services"),
    ("export.serving.server",),
    ("flags.*",),
    ("musika_tf.programs.*",),
)
# The processes that `musika-prepare` starts import its program too: with TensorFlow each would take
# seconds and half a gigabyte.
WITHOUT_TENSORFLOW = (
    "musika_tf.config",
    "musika_tf.conditioning.signals",
    "musika_tf.shards",
    "musika_tf.batches",
    "flags.system",
    "musika_tf.programs.prepare",
)
TENSORFLOW = ("tensorflow", "keras", "tensorflow_io", "tempocnn")
# Loading what these wrote can run code.
UNSAFE_MODULES = ("pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
UNSAFE_CALLS = ("eval", "exec", "__import__")
# Keyword arguments by which NumPy and Keras agree to run what a file holds.
UNSAFE_KEYWORDS = {"allow_pickle": True, "safe_mode": False}


def shipped_sources() -> dict[str, str]:
    """Source text of every shipped module by its dotted name."""
    sources = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            sources[name] = path.read_text()
    return sources


def imports_of(module: str, sources: Mapping[str, str], inside_functions: bool = True) -> set[str]:
    """Everything that a module imports, as dotted names: own modules in full, `from` names too.

    Without `inside_functions` only what is imported together with the module itself.
    """
    found = set()
    for node in _walk(ast.parse(sources[module]), inside_functions):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node, sources)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                # `from musika_tf import layers` imports a module, `from absl import flags` too.
                own = base.partition(".")[0] in PACKAGES
                found.add(full if not own or full in sources else base)
    return found


def _walk(node: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    yield node
    if inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for child in ast.iter_child_nodes(node):
            yield from _walk(child, inside_functions)


def _absolute(module: str, node: ast.ImportFrom, sources: Mapping[str, str]) -> str:
    if not node.level:
        return node.module or ""
    is_package = any(name.startswith(f"{module}.") for name in sources)
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def rank_of(module: str) -> tuple[int, str] | None:
    """Line of `ORDER` that a module stands in, and the name by which it stands there."""
    package = module.rpartition(".")[0]
    for name in (module, f"{package}.*"):
        for rank, line in enumerate(ORDER):
            if name in line:
                return rank, name
    return None


def layering_errors(sources: Mapping[str, str]) -> Iterator[str]:
    for module in sources:
        if rank_of(module) is None:
            yield f"{module} has no place yet: add it to ORDER in tests/test_layering.py"
            continue
        rank, name = rank_of(module)
        for imported in imports_of(module, sources) & set(sources):
            theirs = rank_of(imported)
            together = theirs == (rank, name) and name.endswith(".*")
            if theirs and theirs[0] >= rank and not together and imported != module:
                yield f"{module} imports {imported}, which stands below it or beside it in ORDER"


def flags_errors(sources: Mapping[str, str]) -> Iterator[str]:
    for module in sources:
        imported = imports_of(module, sources)
        if not module.startswith(("flags", "musika_tf.programs")):
            taken = {n for n in imported if _inside(n, ("flags", "absl.flags", "absl.app"))}
            if taken:
                yield f"{module} imports {sorted(taken)}: libraries take configs, never flags"


def tensorflow_errors(sources: Mapping[str, str]) -> Iterator[str]:
    for start in WITHOUT_TENSORFLOW:
        waiting, seen = [start], set()
        while waiting:
            module = waiting.pop()
            if module in seen or module not in sources:
                continue
            seen.add(module)
            # The annotators import their network when they are first asked: what starts without
            # TensorFlow stays without it until then.
            imported = imports_of(module, sources, inside_functions=False)
            waiting.extend(imported)
            if any(_inside(name, TENSORFLOW) for name in imported):
                yield f"{start} must do without TensorFlow, which it imports through {module}"


def safety_errors(sources: Mapping[str, str]) -> Iterator[str]:
    for module, text in sources.items():
        for name in imports_of(module, sources):
            if _inside(name, UNSAFE_MODULES) or name.endswith(".Lambda"):
                yield f"{module} imports {name}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                yield from (f"{module}:{node.lineno} {what}" for what in _unsafe_parts(node))


def _unsafe_parts(call: ast.Call) -> Iterator[str]:
    if isinstance(call.func, ast.Name) and call.func.id in UNSAFE_CALLS:
        yield f"calls {call.func.id}"
    if "Lambda" in (getattr(call.func, "id", None), getattr(call.func, "attr", None)):
        yield "makes a Lambda layer, which cannot be loaded without running code"
    for keyword in call.keywords:
        value = getattr(keyword.value, "value", None)
        if keyword.arg in UNSAFE_KEYWORDS and value is UNSAFE_KEYWORDS[keyword.arg]:
            yield f"passes {keyword.arg}={value}"


def _inside(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


CHECKS = (layering_errors, flags_errors, tensorflow_errors, safety_errors)


@pytest.mark.parametrize("check", CHECKS)
def test_shipped_code(check):
    assert not list(check(shipped_sources()))


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


BROKEN = {
    "unknown module": (layering_errors, {"musika_tf.surprise": ""}),
    "upwards": (
        layering_errors,
        {"musika_tf.config": "from musika_tf import gan", "musika_tf.gan": ""},
    ),
    "upwards, by name": (
        layering_errors,
        {"musika_tf.config": "from musika_tf.gan import Generator", "musika_tf.gan": ""},
    ),
    "upwards, relative": (
        layering_errors,
        {"musika_tf": "", "musika_tf.config": "from . import gan", "musika_tf.gan": ""},
    ),
    "upwards, inside a function": (
        layering_errors,
        {"musika_tf.audio": "def f():\n  import musika_tf.layers", "musika_tf.layers": ""},
    ),
    "sideways": (
        layering_errors,
        {
            "musika_tf.training.gan_trainer": "from musika_tf.training import autoencoder_trainer",
            "musika_tf.training.autoencoder_trainer": "",
        },
    ),
    "library with a program": (
        layering_errors,
        {"musika_tf.synthesis": "import musika_tf.programs.a", "musika_tf.programs.a": ""},
    ),
    "library with flags": (
        flags_errors,
        {"musika_tf.gan": "from flags import gan", "flags.gan": ""},
    ),
    "library with absl flags": (flags_errors, {"musika_tf.gan": "from absl import flags"}),
    "library with FLAGS": (flags_errors, {"export.a": "from absl.flags import FLAGS"}),
    "flags with a program": (
        layering_errors,
        {"flags.run": "from musika_tf.programs import a", "musika_tf.programs.a": ""},
    ),
    "tensorflow": (tensorflow_errors, {"musika_tf.shards": "import tensorflow as tf"}),
    "tensorflow through another": (
        tensorflow_errors,
        {"musika_tf.batches": "from musika_tf import audio", "musika_tf.audio": "import keras"},
    ),
    "tensorflow in a class": (
        tensorflow_errors,
        {"musika_tf.shards": "class A:\n  if True:\n    import tensorflow"},
    ),
    "pickle": (safety_errors, {"musika_tf.shards": "import pickle"}),
    "pickle, by name": (safety_errors, {"musika_tf.shards": "from pickle import load"}),
    "eval": (safety_errors, {"export.a": "eval('1')"}),
    "exec": (safety_errors, {"export.a": "exec('1')"}),
    "allow_pickle": (safety_errors, {"export.a": "np.load(path, allow_pickle=True)"}),
    "safe_mode": (safety_errors, {"export.a": "keras.models.load_model(p, safe_mode=False)"}),
    "Lambda": (safety_errors, {"musika_tf.gan": "keras.layers.Lambda(f)"}),
    "Lambda, by name": (
        safety_errors,
        {"musika_tf.gan": "from keras.layers import Lambda as L"},
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_rule_is_found(what):
    check, sources = BROKEN[what]
    assert list(check(sources))


ALLOWED = {
    "downwards": {"musika_tf.gan": "from musika_tf.config import Config", "musika_tf.config": ""},
    "flags among themselves": {
        "flags.system": "from flags import gan\nfrom musika_tf.config import Config",
        "flags.gan": "from absl import flags",
        "musika_tf.config": "",
    },
    "tensorflow when it is asked for": {"musika_tf.shards": "def f():\n  import tensorflow"},
    "program with flags": {"musika_tf.programs.a": "from absl import app, flags\nimport flags"},
    "logging": {"musika_tf.gan": "from absl import logging\nnp.load(path, allow_pickle=False)"},
}


@pytest.mark.parametrize("what", ALLOWED)
def test_allowed_is_not_reported(what):
    assert [error for check in CHECKS for error in check(ALLOWED[what])] == []
