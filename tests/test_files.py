"""Files and folders appear whole or not at all."""

import os
import pathlib

import pytest

from musika_tf import files


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "made" / "a.txt"
    with files.written_aside(path) as new:
        new.write_text("half")
        assert new.name == "a.txt" and not path.exists()
        new.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


def test_what_was_there_stays_until_then(tmp_path):
    files.write_text(tmp_path / "a.txt", "before, ä")
    with pytest.raises(KeyboardInterrupt), files.written_aside(tmp_path / "a.txt") as new:
        new.write_text("after")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "before, ä"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("one", "other"):
        with files.written_aside(tmp_path / "folder") as new:
            new.mkdir()
            (new / name).write_text(name)
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["other"]


def test_others_may_read_it(tmp_path):
    umask = os.umask(0o022)
    try:
        files.write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(umask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_leftovers_of_a_killed_process_can_be_removed(tmp_path):
    files.write_text(tmp_path / ".mine", "")
    killed = os.fork()
    if not killed:
        with files.written_aside(tmp_path / "a.txt") as new:
            new.write_text("half")
            os._exit(0)
    os.waitpid(killed, 0)
    assert len(names(tmp_path)) == 2
    files.remove_unfinished(tmp_path)
    assert names(tmp_path) == [".mine"]
