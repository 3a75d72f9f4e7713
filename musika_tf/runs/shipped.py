"""The weights that ship, by name: `piano` is `weights/piano` of the checkout, from any folder.

They are no part of an installed package. What `musika-train` makes in `weights/` here has a name
too.
"""

from __future__ import annotations

import os
import pathlib

from musika_tf.config import CONFIG_FILE, Config

WEIGHTS_DIR = "weights"
_CHECKOUT = pathlib.Path(__file__).parents[2]


def weights() -> dict[str, pathlib.Path]:
    """Folders of released weights by name, sorted: those here, then those that ship."""
    folders = (_CHECKOUT / WEIGHTS_DIR, pathlib.Path(WEIGHTS_DIR))
    found = {path.parent.name: path.parent for f in folders for path in f.glob(f"*/{CONFIG_FILE}")}
    return dict(sorted(found.items()))


def playable() -> dict[str, pathlib.Path]:
    """Those of them that have a GAN."""
    return {name: folder for name, folder in weights().items() if _has_gan(folder)}


def find(model: str | os.PathLike) -> pathlib.Path:
    """The folder of a model: its path, or the name of weights that ship.

    Raises:
      ValueError: a name alone that is neither.
    """
    path, known = pathlib.Path(model), weights()
    if path.exists() or path.name != str(model):
        return path
    if path.name not in known:
        where = f"lie in {WEIGHTS_DIR}/ of the project's checkout, which is not here"
        names = f"are {', '.join(known)}" if known else where
        raise ValueError(
            f"{model} is no folder here and no name of weights; those that ship {names}"
        )
    return known[path.name]


def listing() -> str:
    """A line for each: name, folder, what controls it."""
    return "\n".join(f"{name:<16} {_about(folder)}" for name, folder in weights().items())


def _about(folder: pathlib.Path) -> str:
    text = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    names = ", ".join(Config.from_json(text).conditioning.names)
    kind = f"plays, follows {names}" if names else "plays"
    return f"{kind if _has_gan(folder) else 'an autoencoder to train on'}: {folder}"


def _has_gan(folder: pathlib.Path) -> bool:
    return any(folder.glob("gan/*.safetensors"))
