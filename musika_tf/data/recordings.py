"""Known data sets and mixtures: which files they have, and the splits that they tell themselves.

Nothing is fetched: `root` is the folder to which a data set was unpacked.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from musika_tf.data.audio_folder import Found, find_audio_files
from musika_tf.data.decoding import AudioFile

_SPLITS = ("train", "validation")
# Its files, for which most data sets keep a third split, are for nobody to train or choose by.
_TEST = "test"
_LIBRITTS_SPLITS = {"train": "train", "dev": "validation", "test": _TEST}
_JAMENDO_TABLES = "data/splits/split-0/autotagging-{}.tsv"
# Where the files of Jamendo's tables lie, as its own program puts them; the second are the small.
_JAMENDO_FORMS = ("{}.mp3", "{}.low.mp3")


def find(kind: str, root: str | os.PathLike, tags: Sequence[str] = ()) -> Found:
    """The files of a data set, of one of `KINDS`.

    Of 'mtg_jamendo' those with any of the tags, such as 'genre---techno'; without tags all.

    Raises:
      ValueError: an unknown kind, tags of a set without, no such folder, or it does not hold what
        the set holds.
    """
    if kind not in KINDS:
        raise ValueError(f"data set {kind!r} must be one of {', '.join(KINDS)}")
    root = pathlib.Path(os.path.abspath(root))
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: give the one to which {kind} was unpacked")
    if kind == "mtg_jamendo":
        return _mtg_jamendo(root, tags)
    if tags:
        raise ValueError(f"tags choose files of mtg_jamendo; {kind} has none")
    return _FINDERS[kind](root)


def mix(parts: Mapping[str, Found], shares: Mapping[str, float]) -> Found:
    """Several data sets as one; the names of the files begin with that of their set.

    Shares are of the training crops that each part gives, in any unit, above 0, one a part; without
    them each gives as much as it is long.

    Raises:
      ValueError: another share.
    """
    if shares and (parts.keys() != shares.keys() or min(shares.values()) <= 0):
        raise ValueError(f"shares {dict(shares)} must be above 0, one for each of {list(parts)}")
    files, others, closed = [], collections.Counter(), {}
    for part, found in parts.items():
        files += (
            dataclasses.replace(file, name=f"{part}/{file.name}", part=part) for file in found.files
        )
        others.update(found.others)
        closed |= {f"{part}/{name}": reason for name, reason in found.closed.items()}
    files.sort(key=lambda file: file.name)
    return Found(tuple(files), dict(sorted(others.items())), closed, dict(shares))


def _maestro(root: pathlib.Path) -> Found:
    """MAESTRO: a CSV file with one recording a row; its split `test` is left out."""
    tables = sorted(root.glob("maestro-v*.csv"))
    if not tables:
        raise ValueError(f"{root} holds no maestro-v3.0.0.csv: is it the folder of MAESTRO?")
    with open(tables[-1], encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    return _found(root, ((row["audio_filename"], row["split"]) for row in rows))


def _libritts(root: pathlib.Path) -> Found:
    """LibriTTS: the split is the first word of the first folder, train-clean-100 and so on."""
    found = find_audio_files(root)
    splits = {file.name: file.name.partition("-")[0] for file in found.files}
    strange = [name for name, split in splits.items() if split not in _LIBRITTS_SPLITS]
    if strange:
        raise ValueError(
            f"{root} holds {strange[0]}, not only folders train-…, dev-… and test-…: is it the "
            "folder of LibriTTS?"
        )
    rows = ((name, _LIBRITTS_SPLITS[split]) for name, split in splits.items())
    files = _found(root, rows)
    return dataclasses.replace(files, others=found.others | files.others, closed=found.closed)


def _mtg_jamendo(root: pathlib.Path, tags: Sequence[str]) -> Found:
    """MTG-Jamendo: `data/` of its repository beside the folders 00 to 99 of the audio."""
    rows, known = [], collections.Counter()
    for split in _SPLITS:
        path = root / _JAMENDO_TABLES.format(split)
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: put the folder `data` of the repository of MTG-Jamendo beside "
                "the folders of its audio"
            )
        with open(path, encoding="utf-8") as table:
            next(table)
            for line in table:
                _, _, _, name, _, *own = line.rstrip("\n").split("\t")
                known.update(own)
                if not tags or set(tags) & set(own):
                    rows.append((_jamendo_file(root, name), split))
    unknown = [tag for tag in tags if tag not in known]
    if unknown:
        common = ", ".join(tag for tag, _ in known.most_common(10))
        raise ValueError(f"tag {unknown[0]!r} is not in MTG-Jamendo, whose commonest are {common}")
    return _found(root, rows)


def _jamendo_file(root: pathlib.Path, name: str) -> str:
    stem = name.removesuffix(".mp3")
    forms = [form.format(stem) for form in _JAMENDO_FORMS]
    return next((form for form in forms if (root / form).exists()), name)


def _found(root: pathlib.Path, rows: Iterable[tuple[str, str]]) -> Found:
    """Files by name and split; those for testing are only counted."""
    files, n_test = [], 0
    for name, split in rows:
        n_test += split == _TEST
        if split in _SPLITS:
            files.append(AudioFile(name, str(root / name), split))
    files.sort(key=lambda file: file.name)
    return Found(tuple(files), {"for testing": n_test} if n_test else {}, {})


_FINDERS: dict[str, Callable[[pathlib.Path], Found]] = {
    "folder": find_audio_files,
    "maestro": _maestro,
    "libritts": _libritts,
}
KINDS = (*_FINDERS, "mtg_jamendo")
