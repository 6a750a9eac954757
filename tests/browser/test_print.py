"""The book on paper: pages print on white without what belongs to a screen, and the PDF of the whole has its outline and links."""

import re
import shutil

import pytest
from browser.conftest import THEMES, pages

from saebook.book import printed

PAPER = 673  # pixels between the margins of A4
_SHOWN = """[...document.querySelectorAll('.bd-header, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-footer, .prev-next-footer, button, details.hide')]
  .filter((one) => one.getClientRects().length).map((one) => one.className)"""
_TEXT = "getComputedStyle(document.querySelector('.bd-article p')).color"


@pytest.fixture
def on_paper(browser):
    """Open a page as a printer takes it; the screen's way comes back afterwards."""

    def opened(page, theme="light"):
        browser.open(page, width=PAPER, theme=theme)
        browser._call("Emulation.setEmulatedMedia", media="print")

    yield opened
    browser._call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("theme", THEMES)
def test_pages_print_their_text_alone_and_dark_on_white(browser, html, on_paper, theme):
    for name in ("book/index.html", "notebooks/gated/fig05_pareto.html", "book/ledger.html"):
        on_paper(html / name, theme)
        assert browser.run(_SHOWN) == [], name
        assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert browser.run(_TEXT) == "rgb(28, 28, 28)"


def test_nothing_is_wider_than_paper(browser, html, on_paper):
    wide = {}
    for page in pages(html):
        on_paper(page)
        if (width := browser.run("document.documentElement.scrollWidth")) > PAPER:
            wide[page.name] = width
    assert pages(html) and wide == {}


def test_figures_and_rows_are_not_split(browser, html, on_paper):
    on_paper(html / "notebooks" / "gated" / "fig05_pareto.html")
    for what in (".bd-article figure", ".bd-article tr"):
        assert browser.run(f"getComputedStyle(document.querySelector('{what}')).breakInside") == "avoid"


def test_pdf_of_the_book_has_its_pages_outline_and_links(html, tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBOOK_BUILD", str(tmp_path))
    (tmp_path / "html").symlink_to(html.resolve())
    if not any(map(shutil.which, printed._BROWSERS)):
        pytest.fail("no Chromium: install the distribution's package")
    content = printed.pdf().read_bytes()
    book = printed.parts(html)
    count = sum(len(part.pages) for part in book)
    assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > count  # every page of the book begins a new one
    titles = b"\n".join(re.findall(rb"/Title \(([^)]*)\)", content))
    assert b"/Outlines" in content and all(part.title.encode() in titles for part in book)
    assert content.count(b"/Dest") > count  # the contents alone name every page
    assert b"file://" not in content  # no link leads to this machine
