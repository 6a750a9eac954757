"""The book around the notebooks: honest about failures, whole, and offline."""

import nbformat
import pytest

from saebook import book, pages
from saebook.runner import RunRecord


def test_a_page_that_reaches_for_the_network_is_named(tmp_path):
    (tmp_path / "good.html").write_text(
        '<a href="https://arxiv.org">paper</a><script src="a.js"></script><link rel="canonical" href="https://x.org">'
    )
    assert book.reaching_out(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<script src="https://cdn.example/x.js"></script><img src="//img.example/a.png"><link rel="stylesheet" href="http://f.example/f.css">'
    )
    assert len(book.reaching_out(tmp_path)) == 3


def test_missing_pages_are_named(tmp_path, monkeypatch):
    staging, html = tmp_path / "staging", tmp_path / "html"
    for file in ("book/index.md", "notebooks/gated/a.ipynb"):
        (staging / file).parent.mkdir(parents=True, exist_ok=True)
        (staging / file).write_text("")
    monkeypatch.setattr(book, "html", lambda: html)
    (html / "book").mkdir(parents=True)
    (html / "index.html").write_text("x")
    (html / "book" / "index.html").write_text("x")
    assert book.missing(staging) == ["no page notebooks/gated/a.html"]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (None, "has not been run"),
        (RunRecord("a/b", "cpu", "killed", "the kernel died", 3.0, 4, {}), "did not finish (killed)"),
        (RunRecord("a/b", "smoke", "ok", None, 3.0, 0, {}), "No conclusion"),
    ],
)
def test_a_page_says_how_its_notebook_ended(kept, words):
    assert words in book._notice(kept, "smoke" if kept and kept.status == "ok" else "cpu")


def test_a_finished_page_carries_no_notice():
    assert book._notice(RunRecord("a/b", "cpu", "ok", None, 3.0, 0, {}), "cpu") == ""


def test_a_figure_that_was_never_drawn_keeps_no_label():
    page = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("figure", metadata={"mystnb": {"figure": {"name": "f"}}})]
    )
    book._without_holes(page)
    assert "mystnb" not in page.cells[0].metadata


def test_the_seal_follows_what_the_numbers_depend_on(tmp_path, monkeypatch):
    before = book.seal("gated/fig05_pareto", "smoke")
    assert before == book.seal("gated/fig05_pareto", "smoke") != book.seal("gated/fig05_pareto", "cpu")
    plain = nbformat.read

    def changed(*arguments):
        found = plain(*arguments)
        found.cells[-1].source += "\n# another line"
        return found

    monkeypatch.setattr(book.nbformat, "read", changed)
    assert book.seal("gated/fig05_pareto", "smoke") != before


def test_fragments_say_what_is_missing(tmp_path, monkeypatch):
    assert "has not been trained" in pages.subject(tmp_path / "none")
    monkeypatch.setattr(pages.results, "folder", lambda tier: tmp_path / tier)
    assert "No claim has been judged" in pages.verdicts()
    assert "has not been run" in pages.tuning_table()


def test_text_of_a_model_cannot_break_a_page():
    assert pages._safe("a `b`\n| c <script> $x$ [l](u)") == "a \\`b\\` \\| c \\<script\\> \\$x\\$ \\[l\\](u)"
    table = pages.status([{"name": "a/b", "status": "failed", "seconds": 2.4, "error": "x | y"}], "cpu")
    assert table.splitlines()[2].count(" | ") == 4
