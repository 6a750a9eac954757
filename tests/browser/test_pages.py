"""Every page: no error, no network, nothing wider than a phone, light, and open to all readers."""

import json

import pytest
from browser.conftest import THEMES, WIDTHS, pages

MOST_BYTES = 1_500_000
LARGER = {"features.html": 3_000_000}  # a page that is all data, which a chapter links to


def local(url, html):
    return url.startswith(("file://", "data:", "blob:"))


def test_pages_load_without_an_error_or_a_request_to_elsewhere(browser, html):
    wrong = {}
    for page in pages(html):
        browser.open(page)
        away = [url for url in browser.requests if not local(url, html)]
        if browser.errors or away:
            wrong[page.name] = [*browser.errors, *away]
    assert pages(html) and wrong == {}


def test_nothing_is_wider_than_a_phone(browser, html):
    wide = {}
    for page in pages(html):
        browser.open(page, width=390)
        if (width := browser.run("document.documentElement.scrollWidth")) > 390:
            wide[page.name] = width
    assert wide == {}


def test_pages_are_light(html):
    """The page itself with its own pictures; style sheets and scripts are the same for all and kept by the browser."""
    heavy = {}
    for page in pages(html):
        text = page.read_text("utf-8")
        images = [image for image in (html / "_images").glob("*") if image.name in text]
        size = len(text.encode()) + sum(image.stat().st_size for image in images)
        if size > LARGER.get(page.name, MOST_BYTES):
            heavy[page.name] = size
    assert heavy == {}


@pytest.mark.parametrize(("width", "theme"), list(zip(WIDTHS, THEMES, strict=True)))
def test_axe_finds_nothing_serious(browser, html, axe, theme, width):
    serious = {}
    for page in pages(html):
        browser.open(page, width=width, theme=theme)
        browser.run(axe + "; null")
        report = json.loads(browser.run("axe.run().then((report) => JSON.stringify(report.violations))"))
        bad = [
            f"{one['id']}: {one['nodes'][0]['target']} and {len(one['nodes']) - 1} more"
            for one in report
            if one["impact"] in ("serious", "critical")
        ]
        if bad:
            serious[page.name] = bad
    assert serious == {}
