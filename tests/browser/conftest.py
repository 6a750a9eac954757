"""Tests of the rendered book in a real browser: `make browser`, after `make book`."""

import importlib.util
import os
from pathlib import Path

import pytest
from browser.chromium import chromium

from saebook.book import printed

WIDTHS, THEMES = (1280, 390), ("light", "dark")


@pytest.fixture(scope="session")
def html():
    """The folder of the rendered book."""
    folder = Path(os.environ["SAEBOOK_RENDERED"])
    if not (folder / "index.html").is_file():
        pytest.fail(f"no book in {folder}: build it with `make book TIER=smoke`")
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium, the same for all tests."""
    with chromium(printed.browser(), tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core, from a package that brings it along."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.fail("axe-core is missing: `make browser` installs it")
    return next(Path(spec.origin).parent.rglob("axe.min.js")).read_text("utf-8")


def pages(folder: Path) -> list[Path]:
    """Every page that a reader may come to."""
    return sorted([*(folder / "book").glob("*.html"), *(folder / "notebooks").rglob("*.html")])
