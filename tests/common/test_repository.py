"""The repository's address comes from git."""

import subprocess

import pytest

from saebook.common.repository import repository_url, web_address


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/owner/book", "https://github.com/owner/book"),
        ("https://github.com/owner/book.git", "https://github.com/owner/book"),
        ("https://someone:token@github.com/owner/book.git", "https://github.com/owner/book"),
        ("https://gitlab.com/group/sub/book.git", "https://gitlab.com/group/sub/book"),
        ("git@github.com:owner/book.git", "https://github.com/owner/book"),
        ("ssh://git@github.com/owner/book.git", "https://github.com/owner/book"),
        ("/srv/git/book.git", None),
        ("file:///srv/git/book.git", None),
        ("http://github.com/owner/book.git", None),
        ("https://localhost/owner/book.git", None),
        ("git@buildhost:book.git", None),
        ("https://github.com/book", None),
        ("https://github.com/owner/a b", None),
        ("", None),
    ],
)
def test_only_public_remotes_have_a_web_address(remote, address):
    assert web_address(remote) == address


def git(folder, *command):
    subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)


def test_address_of_a_clone(tmp_path):
    git(tmp_path, "init", "-q")
    assert repository_url(tmp_path) is None  # no remote yet
    git(tmp_path, "remote", "add", "origin", "git@github.com:owner/book.git")
    assert repository_url(tmp_path) == "https://github.com/owner/book"
    git(tmp_path, "remote", "set-url", "origin", "/srv/git/book.git")
    assert repository_url(tmp_path) is None


def test_copy_inside_another_repository_does_not_take_its_address(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://github.com/owner/other.git")
    (tmp_path / "book").mkdir()
    assert repository_url(tmp_path / "book") is None


def test_without_git_there_is_no_address(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://github.com/owner/book.git")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository_url(tmp_path) is None
