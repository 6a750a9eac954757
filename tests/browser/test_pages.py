"""Every page: no error, no network, nothing wider than a phone, light, and open to all readers."""

import json

import pytest
from browser.conftest import THEMES, WIDTHS, pages

MOST_BYTES = 1_500_000
LARGER = {"features.html": 3_000_000}  # a page that is all data, which a chapter links to


@pytest.mark.parametrize(("width", "theme"), list(zip(WIDTHS, THEMES, strict=True)))
def test_every_page_loads_fits_and_is_open_to_all_readers(browser, html, axe, theme, width):
    """One visit tells all, for opening the pages takes as long as what is asked of them."""
    wrong = {}
    for page in pages(html):
        browser.open(page, width=width, theme=theme)
        bad = [*browser.errors, *(f"asks for {url}" for url in browser.requests if not local(url))]
        if (wide := browser.run("document.documentElement.scrollWidth")) > width:
            bad.append(f"{wide} pixels wide")
        browser.run(axe + "; null")
        report = browser.run("axe.run().then((report) => JSON.stringify(report.violations))")
        bad += [
            f"{one['id']}: {one['nodes'][0]['target']} and {len(one['nodes']) - 1} more"
            for one in json.loads(report)
            if one["impact"] in ("serious", "critical")
        ]
        if bad:
            wrong[page.name] = bad
    assert pages(html) and wrong == {}


def local(url):
    return url.startswith(("file://", "data:", "blob:"))


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
