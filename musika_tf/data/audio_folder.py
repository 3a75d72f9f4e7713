"""Folders of audio files: which files lie there."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib

from musika_tf.data.decoding import AudioFile

# Files that are called so are tried; of others those whose first bytes are in _MAGIC.
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".aifc", ".opus", ".m4a", ".aac",
    ".wma", ".au", ".caf", ".w64", ".mp2", ".wv", ".ape", ".mka",
)  # fmt: skip

# Of WAV, FLAC, Ogg, AIFF and of MP3 with a tag.
_MAGIC = (b"RIFF", b"fLaC", b"OggS", b"FORM", b"ID3")
# What macOS puts beside each file of a foreign disk: called like it, but no audio.
_SHADOW = "._"


@dataclasses.dataclass(frozen=True)
class Found:
    """What lies in a folder and below.

    Attributes:
      files: those to try, sorted by name, the path relative to the folder with forward slashes.
      others: how many files of which other suffix there are.
      closed: folders that could not be entered, with the reason.
      shares: of a mixture, how much of the training crops each part gives.
    """

    files: tuple[AudioFile, ...]
    others: dict[str, int]
    closed: dict[str, str]
    shares: dict[str, float] = dataclasses.field(default_factory=dict)


def find_audio_files(audio_dir: str | os.PathLike) -> Found:
    """Finds audio files by suffix or first bytes, in subfolders and linked folders too.

    Raises:
      ValueError: no such folder, or no audio file in it.
    """
    # Workers may have another working directory.
    root = pathlib.Path(os.path.abspath(audio_dir))
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: give the folder that holds the audio files")
    paths, closed = _walk(root)
    found, others = [], collections.Counter()
    for path in paths:
        if _may_be_audio(path):
            found.append(AudioFile(path.relative_to(root).as_posix(), str(path)))
        else:
            others[path.suffix.lower() or "without suffix"] += 1
    if not found:
        raise ValueError(
            f"no audio file in {root} or below, among {others.total()} files: looked for "
            f"{', '.join(AUDIO_SUFFIXES)}"
        )
    found.sort(key=lambda file: file.name)
    return Found(tuple(found), dict(sorted(others.items())), closed)


def _walk(root: pathlib.Path) -> tuple[list[pathlib.Path], dict[str, str]]:
    """All files, and the folders that cannot be entered.

    A linked folder that was seen before is not entered again.
    """
    closed, seen, paths = {}, set(), []

    def note(error: OSError) -> None:
        closed[pathlib.Path(error.filename).relative_to(root).as_posix()] = error.strerror

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=note):
        # Which of several links to a folder is followed must not depend on the disk's order.
        subfolders.sort()
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        paths += (pathlib.Path(folder, name) for name in names)
    return paths, closed


def _may_be_audio(path: pathlib.Path) -> bool:
    if path.name.startswith(_SHADOW):
        return False
    if path.suffix.lower() in AUDIO_SUFFIXES:
        return True
    try:
        # Opening what is no file, such as a pipe, could wait for ever.
        return path.is_file() and path.open("rb").read(4).startswith(_MAGIC)
    except OSError:
        return False
