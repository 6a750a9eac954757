"""Files appear whole or not at all, once, and a disk that refuses them is named."""

import errno
import os
import subprocess
import sys

import pytest

from saebook.common.errors import UserError
from saebook.common.files import made_once, write_text, write_whole

ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0


def names(folder):
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".lock"))


def test_one_of_two_processes_makes_the_file(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from saebook.common.files import made_once\n"
        "with made_once(Path(sys.argv[1]) / 'sub' / 'made.txt') as aside:\n"
        "    if aside:\n"
        "        time.sleep(0.5); aside.write_text(sys.argv[2]); print('made it')"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), word], stdout=subprocess.PIPE, text=True)
        for word in ("one", "two")
    ]
    said = [process.communicate()[0] for process in both]
    assert sorted(said) == ["", "made it\n"] and [process.returncode for process in both] == [0, 0]
    assert names(tmp_path / "sub") == ["made.txt"]
    assert (tmp_path / "sub" / "made.txt").read_text() == ["one", "two"][said.index("made it\n")]


def test_failed_write_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="gone"), made_once(tmp_path / "made.txt") as aside:
        aside.write_text("half")
        raise OSError("gone")
    assert names(tmp_path) == []
    with made_once(tmp_path / "made.txt") as aside:
        aside.write_text("whole")
    with made_once(tmp_path / "made.txt") as aside:
        assert aside is None


def test_damaged_file_is_reported_and_made_again(tmp_path, capsys):
    file = tmp_path / "made.txt"
    file.write_text("hal")
    for expected in ("damaged", ""):
        with made_once(file, lambda path: path.read_text() == "whole") as aside:
            if aside:
                aside.write_text("whole")
        assert expected in capsys.readouterr().out
    assert file.read_text() == "whole" and names(tmp_path) == ["made.txt"]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_interrupted_write_leaves_the_old_file(tmp_path, stop):
    file = tmp_path / "kept.txt"
    write_text(file, "old\n")
    with pytest.raises(stop), write_whole(file) as aside:
        aside.write_text("half of the n")
        raise stop
    assert file.read_text() == "old\n" and names(tmp_path) == ["kept.txt"]
    write_text(file, "new\n")
    assert file.read_text() == "new\n" and names(tmp_path) == ["kept.txt"]


def test_folder_appears_whole(tmp_path):
    with write_whole(tmp_path / "deep" / "run") as aside:
        aside.mkdir()
        (aside / "a.txt").write_text("a")
    assert names(tmp_path / "deep") == ["run"] and names(tmp_path / "deep" / "run") == ["a.txt"]
    with pytest.raises(ValueError), write_whole(tmp_path / "deep" / "other") as aside:
        aside.mkdir()
        (aside / "a.txt").write_text("a")
        raise ValueError
    assert names(tmp_path / "deep") == ["run"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write: No space left")]
)
def test_full_disk_is_reported_in_one_line(tmp_path, error):
    with pytest.raises(UserError, match="is full: free some space"), write_whole(tmp_path / "a.txt") as aside:
        aside.write_text("half")
        raise error
    assert names(tmp_path) == []


@pytest.mark.skipif(ROOT_USER, reason="root may write anywhere")
def test_read_only_folder_is_reported_in_one_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        for write in (lambda file: write_text(file, "a"), lambda file: made_once(file).__enter__()):
            with pytest.raises(UserError, match="cannot be written to"):
                write(tmp_path / "a.txt")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_refusal_is_reported_in_one_line(tmp_path, number):
    with pytest.raises(UserError, match="cannot be written to"), write_whole(tmp_path / "a.txt") as aside:
        raise OSError(number, "refused", str(aside))
    # An error about another file is not blamed on this folder.
    with pytest.raises(OSError, match="elsewhere"), write_whole(tmp_path / "a.txt"):
        raise OSError(number, "refused", "/elsewhere/b.txt")


def test_file_in_the_place_of_a_folder_is_reported_in_one_line(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="not a folder"):
        write_text(tmp_path / "taken" / "a.txt", "a")
