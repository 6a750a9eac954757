"""The rendered book as one PDF: its pages joined in reading order, with links between them, and printed by a headless Chromium.

What is printed is what the browser shows, by the same style sheets; their print rules leave out what only a screen needs.
Headings become the PDF's outline, a part of the book above its pages.
"""

import os
import posixpath
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bs4 import BeautifulSoup

from saebook.book.site import contents, rendering
from saebook.common import paths, sidecar, templates
from saebook.common.errors import UserError
from saebook.common.files import write_whole

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--allow-file-access-from-files", "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip
_PATIENCE = 900  # seconds that a browser may take for the whole book
_TYPESET = 120_000  # milliseconds of the page's own time, in which formulas are set
_ONLY_ON_SCREEN = "a.headerlink, script, button, form, input, select, .ledger-filter, .forest-filter, details.hide"
_DEEPEST = 6  # of HTML's headings


@dataclass(frozen=True)
class Part:
    """A part of the book and its pages: files below the folder of the rendered book, in reading order."""

    title: str
    pages: tuple[str, ...]


def pdf(out: Path | None = None) -> Path:
    """Print the rendered book into one PDF, `out` or ``_build/book.pdf``; returns the file.

    Raises `UserError` when the book was not built, there is no Chromium, or it does not print.
    """
    html, place = rendering.html(), (out or paths.build() / "book.pdf").expanduser().resolve()
    if not (html / "index.html").is_file():
        raise UserError(f"there is no rendered book in {html}: run `saebook book` first")
    if place.suffix != ".pdf":
        raise UserError(f"-o takes the name of a PDF, such as book.pdf, not {out}")
    command = browser()
    # Beside the pages, so that pictures and style sheets are found by the same addresses.
    with tempfile.NamedTemporaryFile("w", dir=html, prefix=".print-", suffix=".html", encoding="utf-8") as page:
        page.write(joined(html, parts(html)))
        page.flush()
        with write_whole(place) as aside:
            _print(command, Path(page.name), aside)
    return place


def browser() -> str:
    """The command of a Chromium: `SAEBOOK_CHROMIUM`, or the first that is installed. Raises `UserError` for none."""
    named = os.environ.get("SAEBOOK_CHROMIUM")
    for command in (named,) if named else _BROWSERS:
        if place := shutil.which(command):
            return place
    raise UserError(
        f"no browser {named}: set SAEBOOK_CHROMIUM to a Chromium"
        if named
        else "printing needs Chromium or Google Chrome: install one, or name it in SAEBOOK_CHROMIUM"
    )


def parts(html: Path) -> list[Part]:
    """The parts of the rendered book in `html` in reading order, without pages that were not rendered."""
    prose = {file.stem for file in (html / "book").glob("*.html")}
    table = contents.contents(prose, sidecar.names())
    whole = [Part("", (f"{table['root']}.html",))]
    whole += [Part(one["caption"], tuple(f"{page['file']}.html" for page in one["chapters"])) for one in table["parts"]]
    there = [Part(part.title, tuple(page for page in part.pages if (html / page).is_file())) for part in whole]
    return [part for part in there if part.pages]


def joined(html: Path, book: list[Part]) -> str:
    """One HTML document of all pages of the `book` rendered in `html`, to lie in that folder."""
    pages = {page for part in book for page in part.pages}
    first = BeautifulSoup((html / book[0].pages[0]).read_text("utf-8"), "html.parser")
    shown = [
        {
            "title": part.title, "id": f"part-{number}",
            "pages": [
                {"id": _name(page), "title": title, "content": content}
                for page in part.pages
                for title, content in (_content(html, page, pages, depth=1 if part.title else 0),)
            ],
        }
        for number, part in enumerate(book)
    ]  # fmt: skip
    head = list(_head(first, book[0].pages[0]))
    title = first.title.get_text().rpartition(" — ")[2] if first.title else ""
    return templates.render("saebook.book", "printed.html", head=head, parts=shown, title=title)


def _head(page: BeautifulSoup, name: str) -> Iterator[str]:
    """The style sheets of a page, and what sets its formulas, with addresses from the book's folder."""
    for tag in page.select("link[rel~=stylesheet], script"):
        if tag.name == "link":
            tag["href"] = _resolved(name, str(tag["href"]))
        elif tag.name == "script" and "mathjax" in str(tag.get("src", "")):
            tag["src"] = _resolved(name, str(tag["src"]))
        elif "window.MathJax" not in tag.get_text():
            continue
        yield str(tag)


def _content(html: Path, name: str, pages: set[str], depth: int) -> tuple[str, str]:
    """The title of a page, and its article with headings `depth` levels deeper and with addresses of the whole document."""
    page = BeautifulSoup((html / name).read_text("utf-8"), "html.parser")
    article = page.select_one("article.bd-article")
    if article is None:
        raise UserError(f"{html / name} is not a page of the book: build it again")
    for tag in article.select(_ONLY_ON_SCREEN):
        tag.decompose()
    for number in range(_DEEPEST - depth, 0, -1):
        for heading in article.select(f"h{number}"):
            heading.name = f"h{number + depth}"
    for tag in article.select("[id]"):
        tag["id"] = f"{_name(name)}--{tag['id']}"
    for tag in article.select("[src]"):
        tag["src"] = _resolved(name, str(tag["src"]))
    for link in article.select("a[href]"):
        target = _target(name, str(link["href"]), pages)
        if target is None:
            link.unwrap()
        else:
            link["href"] = target
    heading = article.select_one(f"h{1 + depth}")
    return heading.get_text().strip() if heading else name, article.decode_contents()


def _target(name: str, href: str, pages: set[str]) -> str | None:
    """Where a link of page `name` leads in the whole document; None for a file that is not in it."""
    parts = urlsplit(href)
    if parts.scheme or parts.netloc:
        return href
    page = _resolved(name, parts.path) if parts.path else name
    page = "book/index.html" if page == "index.html" else page
    if page not in pages:
        return None
    return f"#{_name(page)}--{parts.fragment}" if parts.fragment else f"#{_name(page)}"


def _resolved(name: str, address: str) -> str:
    """An address on page `name`, from the book's folder; one with a scheme stays."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return address
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), parts.path))
    return f"{path}?{parts.query}" if parts.query else path


def _name(page: str) -> str:
    """The id of a page in the whole document."""
    return page.removesuffix(".html").removeprefix("notebooks/").replace("/", "-")


def _print(command: str, page: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="saebook-print-") as profile:
        arguments = [
            command, *_FLAGS, f"--user-data-dir={profile}", f"--virtual-time-budget={_TYPESET}", "--no-pdf-header-footer",
            "--generate-pdf-document-outline", f"--print-to-pdf={out}", page.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            raise UserError(f"{command} did not print the book in {_PATIENCE} s") from None
    if not out.is_file() or not out.read_bytes().startswith(b"%PDF"):
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UserError(f"{command} did not print the book ({last[:200]}): try another one with SAEBOOK_CHROMIUM")
