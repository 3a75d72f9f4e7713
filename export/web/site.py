"""Models → a static folder that any file host serves: the page, its runtime, the LiteRT graphs.

index.html, *.js, style.css   the page
vendor/litert/                what runs the networks, see its README.md
models.json                   names and sizes of the models
models/NAME/                  generator.tflite, decoder.tflite, manifest.json, card.md
LICENSE.txt
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping

from export import litert
from musika_tf import files
from musika_tf.player import find_version
from musika_tf.runs.release import CARD_FILE
from musika_tf.runs.run import CONFIG_FILE, Run

_PAGE = pathlib.Path(__file__).with_name("page")
# Workers have no import maps: the runtime's one import by name becomes one by path.
_IMPORT_BY_NAME = '"@litertjs/wasm-utils"', '"./wasm_utils.js"'


def named(model_dirs: Iterable[str | os.PathLike]) -> dict[str, pathlib.Path]:
    """Models by the names that the page gives them, those of their folders.

    Raises:
      ValueError: none, or two of the same name.
    """
    found: dict[str, pathlib.Path] = {}
    for model_dir in map(pathlib.Path, model_dirs):
        path = model_dir.resolve()
        # A version is a number in the folder of its model.
        name = path.parent.name if path.name.isdecimal() else path.name
        if name in found:
            raise ValueError(
                f"{found[name]} and {model_dir} would both be called {name}: rename one of the "
                "folders"
            )
        found[name] = model_dir
    if not found:
        raise ValueError(
            "no model: name one with --model_dir; those that ship lie in weights/ of a checkout"
        )
    return found


def build(
    models: Mapping[str, pathlib.Path], out: str | os.PathLike, overwrite: bool = False
) -> pathlib.Path:
    """Writes the folder `out`, whole or not at all, and returns it.

    Args:
      models: by name, each a run, released weights, or a model exported with its LiteRT graphs.
      overwrite: replace a folder that is there.

    Raises:
      ValueError: a model is none of these or not trained yet, or the folder is there already.
    """
    out = pathlib.Path(out)
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already: --overwrite replaces it")
    with files.written_aside(out) as made:
        shutil.copytree(_PAGE, made)
        runtime = made / "vendor" / "litert" / "litert.js"
        runtime.write_text(runtime.read_text("utf-8").replace(*_IMPORT_BY_NAME), "utf-8")
        for name, model_dir in models.items():
            _add_model(model_dir, made / "models" / name)
        listed = [_listed(name, made / "models" / name) for name in models]
        (made / "models.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    return out


def _add_model(model_dir: pathlib.Path, folder: pathlib.Path) -> None:
    """Graphs, manifest and card of a model."""
    run = Run(model_dir)
    card = model_dir / CARD_FILE
    if run.saved_config is not None:
        litert.save(run.synthesizer(), folder, run.provenance())
    else:
        shutil.copytree(_exported(model_dir), folder)
    if card.is_file():
        shutil.copyfile(card, folder / "card.md")


def _exported(model_dir: pathlib.Path) -> pathlib.Path:
    """The LiteRT folder of an exported model."""
    folder = find_version(model_dir) / litert.FOLDER
    if not (folder / litert.MANIFEST_FILE).is_file():
        raise ValueError(
            f"{folder.parent} has no LiteRT graphs: export it again with --litert, or give its run"
        )
    return folder


def _listed(name: str, folder: pathlib.Path) -> dict:
    manifest = json.loads((folder / litert.MANIFEST_FILE).read_text("utf-8"))
    return {
        "name": name,
        "path": f"models/{name}/",
        "bytes": sum(graph["bytes"] for graph in manifest["graphs"].values()),
        "card": f"models/{name}/card.md" if (folder / "card.md").is_file() else None,
    }


def kept(models: Mapping[str, pathlib.Path], cache_dir: str | os.PathLike) -> pathlib.Path:
    """The page of these models from a folder of pages, where it is built if it is not there."""
    folder = pathlib.Path(cache_dir, _fingerprint(models)[:16])
    return folder if folder.exists() else build(models, folder)


def _fingerprint(models: Mapping[str, pathlib.Path]) -> str:
    """SHA-256 of all that the page of these models is made of."""
    digest = hashlib.sha256(json.dumps(list(models)).encode())
    sources = [path for path in sorted(_PAGE.rglob("*")) if path.is_file()]
    for model_dir in models.values():
        sources += _sources(model_dir)
    for path in [pathlib.Path(litert.__file__), *sources]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources(model_dir: pathlib.Path) -> list[pathlib.Path]:
    run = Run(model_dir)
    card = [path for path in (model_dir / CARD_FILE,) if path.is_file()]
    if run.saved_config is None:
        return [_exported(model_dir) / litert.MANIFEST_FILE, *card]
    return [
        run.folder / CONFIG_FILE,
        run.checkpoint("gan"),
        run.autoencoder_checkpoint,
        *card,
    ]
