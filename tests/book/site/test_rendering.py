"""A rendered book is whole, needs no network, and takes the place of the last one in one step."""

import stat
import sys

import pytest

from saebook.book.site import rendering


def test_page_that_loads_from_the_network_is_named(tmp_path):
    (tmp_path / "good.html").write_text(
        '<a href="https://arxiv.org">paper</a><script src="a.js"></script><link rel="canonical" href="https://x.org">'
    )
    assert rendering.loads(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<script src="https://cdn.example/x.js"></script><img src="//img.example/a.png"><link rel="stylesheet" href="http://f.example/f.css">'
    )
    assert len(rendering.loads(tmp_path)) == 3


def test_missing_pages_are_named(tmp_path):
    staging, html = tmp_path / "staging", tmp_path / "html"
    for file in ("book/index.md", "notebooks/gated/a.ipynb"):
        (staging / file).parent.mkdir(parents=True, exist_ok=True)
        (staging / file).write_text("")
    (html / "book").mkdir(parents=True)
    (html / "index.html").write_text("x")
    (html / "book" / "index.html").write_text("x")
    assert rendering.missing(staging, html) == ["no page notebooks/gated/a.html"]


@pytest.fixture
def jupyter_book(tmp_path, monkeypatch):
    """Replaces Jupyter Book by a shell script: `become(script)`; its first argument but one is the staging folder."""
    monkeypatch.setenv("SAEBOOK_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    def become(script):
        program = tmp_path / "jupyter-book"
        program.write_text(f"#!/bin/sh\nmade=$2/_build/html\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)

    (tmp_path / "staging").mkdir()
    return become


def test_new_book_replaces_the_last_one_whole(tmp_path, jupyter_book):
    jupyter_book("mkdir -p $made && echo one > $made/index.html && touch $made/old.html")
    assert rendering.render(tmp_path / "staging") == []
    jupyter_book("mkdir -p $made && echo two > $made/index.html && rm -f $made/old.html")
    assert rendering.render(tmp_path / "staging") == []
    assert [file.name for file in rendering.html().iterdir()] == ["index.html"]
    assert rendering.html().joinpath("index.html").read_text() == "two\n"
    assert [folder.name for folder in rendering.html().parent.iterdir()] == ["html"]


def test_last_book_stays_when_no_pages_were_made(tmp_path, jupyter_book):
    jupyter_book("mkdir -p $made && echo one > $made/index.html")
    rendering.render(tmp_path / "staging")
    jupyter_book("echo 'x.md: ERROR: bad' >&2; exit 1")
    assert rendering.render(tmp_path / "staging") == [
        "Jupyter Book: x.md: ERROR: bad", f"Jupyter Book made no pages: {rendering.html()} is what it was",
    ]  # fmt: skip
    assert rendering.html().joinpath("index.html").read_text() == "one\n"


def test_warnings_are_problems_and_a_full_disk_is_one_line(tmp_path, jupyter_book):
    jupyter_book("mkdir -p $made && touch $made/index.html; echo 'a.md: WARNING: odd'; echo noise; exit 1")
    assert rendering.render(tmp_path / "staging") == ["Jupyter Book: a.md: WARNING: odd"]
    jupyter_book("echo Traceback; echo 'OSError: No space left on device'; exit 1")
    assert rendering.render(tmp_path / "staging")[0] == "the disk is full: free some space and build again"
