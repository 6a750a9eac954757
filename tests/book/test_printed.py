"""The pages of a rendered book joined into one document to print: in reading order, with ids and links that still lead somewhere."""

import stat

import pytest
from bs4 import BeautifulSoup

from saebook.book import printed
from saebook.common.errors import UserError

PAGE = """<!DOCTYPE html><html><head><title>{title} — The book</title>
<link href="{up}_static/theme.css?digest=1" rel="stylesheet"><link rel="next" href="x.html">
<script>window.MathJax = {{}}</script><script defer src="{up}_static/mathjax/tex-chtml.js"></script>
<script src="{up}_static/saebook.js"></script></head>
<body><nav class="bd-links">sidebar</nav><article class="bd-article"><section id="top"><h1>{title}<a class="headerlink">#</a></h1>
<button>press</button><details class="hide"><summary>Show the code</summary>x = 1</details>{content}<h2 id="more">More</h2>
</section></article></body></html>"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A rendered book of a front page, a chapter with a picture and links, and a page that was not rendered."""
    html = tmp_path / "build" / "html"
    links = (
        '<a href="#more">here</a> <a href="../../book/glossary.html#l0">word</a> <a href="../../book/index.html">front</a> '
        '<a href="../../index.html">home</a> <a href="../e2e/fig01_pareto.html">left out</a> '
        '<a href="../../_downloads/a.csv">rows</a> <a href="https://arxiv.org/abs/1">paper</a> <img src="../../_images/a.png">'
    )
    pages = {
        "index.html": ("The book", "", ""),
        "book/index.html": ("The book", "", "../"),
        "book/glossary.html": ("Glossary", '<p id="l0">L0</p>', "../"),
        "notebooks/gated/fig05_pareto.html": ("Gated, Figure 5", links, "../../"),
    }
    for name, (title, content, up) in pages.items():
        (html / name).parent.mkdir(parents=True, exist_ok=True)
        (html / name).write_text(PAGE.format(title=title, content=content, up=up), "utf-8")
    monkeypatch.setenv("SAEBOOK_BUILD", str(tmp_path / "build"))
    return html


@pytest.fixture
def document(book):
    return BeautifulSoup(printed.joined(book, printed.parts(book)), "html.parser")


def test_pages_come_in_reading_order_under_their_parts(book, document):
    assert [(part.title, part.pages) for part in printed.parts(book)] == [
        ("", ("book/index.html",)),
        ("Gated SAEs", ("notebooks/gated/fig05_pareto.html",)),
        ("About this book", ("book/glossary.html",)),
    ]
    headings = [(one.name, one.get_text()) for one in document.find_all(["h1", "h2", "h3"])]
    assert headings == [
        ("h1", "The book"), ("h2", "More"), ("h2", "Contents"), ("h1", "Gated SAEs"), ("h2", "Gated, Figure 5"), ("h3", "More"),
        ("h1", "About this book"), ("h2", "Glossary"), ("h3", "More"),
    ]  # fmt: skip


def test_every_link_within_the_document_leads_somewhere(document):
    ids = [one["id"] for one in document.find_all(id=True)]
    assert len(ids) == len(set(ids))
    inside = [one["href"] for one in document.find_all("a", href=True) if one["href"].startswith("#")]
    assert len(inside) > 5 and {one.removeprefix("#") for one in inside} <= set(ids)
    chapter = document.find(id="gated-fig05_pareto")
    assert [(one.get_text(), one["href"]) for one in chapter.find_all("a", href=True)] == [
        ("here", "#gated-fig05_pareto--more"), ("word", "#book-glossary--l0"), ("front", "#book-index"), ("home", "#book-index"),
        ("paper", "https://arxiv.org/abs/1"),
    ]  # fmt: skip
    assert "left out" in chapter.get_text() and "rows" in chapter.get_text()  # words stay where a link leads nowhere


def test_only_what_paper_shows_is_kept(document):
    assert document.find("img")["src"] == "_images/a.png"
    assert [one["href"] for one in document.find_all("link")] == ["_static/theme.css?digest=1"]
    assert [one.get("src") for one in document.find_all("script")] == [None, "_static/mathjax/tex-chtml.js"]
    text = document.get_text()
    assert not any(words in text for words in ("sidebar", "press", "Show the code", "#"))


@pytest.fixture
def browser(tmp_path, monkeypatch):
    """Replaces Chromium by a shell script: `become(script)`."""
    program = tmp_path / "chromium"
    monkeypatch.setenv("SAEBOOK_CHROMIUM", str(program))

    def become(script):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return become


_SET = 'for one in "$@"; do case $one in --print-to-pdf=*) out=${one#--print-to-pdf=};; esac; done\n'


def test_pdf_is_put_in_its_place_whole(book, browser, tmp_path):
    browser(_SET + "printf '%%PDF-1.4 new' > \"$out\"")
    assert printed.pdf() == tmp_path / "build" / "book.pdf"
    assert printed.pdf(tmp_path / "other.pdf").read_text() == "%PDF-1.4 new"
    assert not list(book.glob(".print-*"))  # the joined page is gone again
    browser("echo 'no memory' >&2; exit 1")
    with pytest.raises(UserError, match=r"did not print the book \(no memory\)"):
        printed.pdf()
    assert (tmp_path / "build" / "book.pdf").read_text() == "%PDF-1.4 new"


def test_what_is_missing_is_told_in_a_line(book, browser, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"no browser .*set SAEBOOK_CHROMIUM"):
        printed.pdf()
    with pytest.raises(UserError, match="takes the name of a PDF"):
        printed.pdf(tmp_path / "book.txt")
    monkeypatch.delenv("SAEBOOK_CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="needs Chromium"):
        printed.pdf()
    monkeypatch.setenv("SAEBOOK_BUILD", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="run `saebook book` first"):
        printed.pdf()
