"""Jupyter Book over the staging folder, and a look at what it made: every page there, none that needs a network.

Jupyter Book only renders (``execute_notebooks: "off"``): its own execution would run on whatever machine builds the
pages, and its cache does not see the library.
"""

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from saebook.common import paths

_OUTSIDE = ("http:", "https:", "//")
_FOLLOWED = {"canonical", "next", "prev", "search", "index", "author"}  # links that a page does not load by itself


def html() -> Path:
    """The folder of the rendered book."""
    return paths.build() / "html"


def render(staging: Path) -> list[str]:
    """Render `staging` and put the book in the place of the last one, whole. Returns one line per problem.

    Warnings are errors and nothing is reused. The last book stays where it is when no pages were made.
    """
    command = [
        str(Path(sys.executable).with_name("jupyter-book")), "build", str(staging), "--toc", str(staging / "_toc.yml"),
        "--all", "-n", "-W", "--keep-going", "-q",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONWARNINGS": "ignore"}
    )
    made = staging / "_build" / "html"
    problems = _problems(done.stdout + done.stderr) if done.returncode else []
    if not (made / "index.html").is_file():
        return [*problems, f"Jupyter Book made no pages: {html()} is what it was"]
    problems += missing(staging, made) + loads(made)
    _swap(made, html())
    return problems


def _problems(log: str) -> list[str]:
    """The lines of a failed build's log that say why it failed."""
    lines = [line for line in log.splitlines() if line.strip()]
    if "No space left on device" in log:
        return ["the disk is full: free some space and build again"]
    return [f"Jupyter Book: {line}" for line in [x for x in lines if "WARNING" in x or "ERROR" in x] or lines[-5:]]


def _swap(made: Path, place: Path) -> None:
    """Put the folder `made` in the place of `place` by renaming both."""
    place.parent.mkdir(parents=True, exist_ok=True)
    before = place.with_name(f".{place.name}-before")
    shutil.rmtree(before, ignore_errors=True)
    if place.exists():
        place.replace(before)
    made.replace(place)
    shutil.rmtree(before, ignore_errors=True)


def missing(staging: Path, made: Path) -> list[str]:
    """A line for every page that should be in the folder `made` and is not."""
    sources = [*(staging / "book").glob("*.md"), *(staging / "notebooks").rglob("*.ipynb")]
    wanted = ["index.html"] + [s.relative_to(staging).with_suffix(".html").as_posix() for s in sorted(sources)]
    return [f"no page {page}" for page in wanted if not (made / page).is_file()]


class _Loads(HTMLParser):
    """Collects what a page loads by itself from elsewhere; links that a reader may follow do not count."""

    def __init__(self):
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get("src") if tag in ("script", "img", "iframe", "source", "video", "audio", "embed") else None
        if tag == "link" and not _FOLLOWED & set((given.get("rel") or "").split()):
            address = given.get("href")
        if address and address.startswith(_OUTSIDE):
            self.addresses.append(address)


def loads(folder: Path) -> list[str]:
    """A line for every address that a page of `folder` would load from a network."""
    lines = []
    for page in sorted(folder.rglob("*.html")):
        parser = _Loads()
        parser.feed(page.read_text("utf-8"))
        lines += [f"{page.relative_to(folder)} loads {address}" for address in dict.fromkeys(parser.addresses)]
    return lines
