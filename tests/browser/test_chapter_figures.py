"""The figures of chapters, used as a reader would: marks, slider, map and downloads."""

import re

import pytest
from browser.conftest import THEMES, WIDTHS, pages

MARKS = "[...document.querySelectorAll('.drawn-figure .run')]"


@pytest.fixture(scope="module")
def drawn(html):
    """Every page with a drawn figure."""
    having = [page for page in pages(html) if '<figure class="drawn-figure"' in page.read_text("utf-8")]
    assert having
    return having


@pytest.fixture
def pareto(browser, html):
    return lambda **how: browser.open(html / "notebooks" / "gated" / "fig05_pareto.html", **how)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_marks_lie_within_their_plot_and_panels_are_stacked_on_a_phone(browser, drawn, width, theme):
    for page in drawn:
        browser.open(page, width=width, theme=theme)
        outside = browser.run(
            f"{MARKS}.filter((run) => run.getClientRects().length).filter((run) => {{"
            " const ring = run.querySelector('.ring').getBoundingClientRect(), x = ring.x + ring.width / 2, y = ring.y + ring.height / 2;"
            " const plot = run.closest('.plot').getBoundingClientRect();"
            " return x < plot.left - 1 || x > plot.right + 1 || y < plot.top - 1 || y > plot.bottom + 1 || x > innerWidth; }).length"
        )
        assert outside == 0, page.name
        edges = browser.run(
            "[...document.querySelectorAll('.drawn-figure .panel')].filter((p) => p.offsetParent).map((p) => Math.round(p.getBoundingClientRect().left))"
        )
        assert edges and (width > 600 or len(set(edges)) == 1), page.name


def test_colours_follow_the_theme(browser, pareto):
    colours = {}
    for theme in THEMES:
        pareto(theme=theme)
        colours[theme] = browser.run(
            "[...document.querySelectorAll('.drawn-figure .means')].map((one) => getComputedStyle(one).color)"
        )
        assert len(set(colours[theme])) == 2
    page = {
        theme: browser.run("getComputedStyle(document.querySelector('.drawn-figure text')).fill") for theme in THEMES
    }
    assert page["dark"] and colours["light"] and colours["dark"]


def test_keys_walk_through_the_runs_and_tell_their_details(browser, pareto):
    pareto()
    words = "document.querySelector('.run-words').textContent"
    assert "arrow keys" in browser.run(words)
    browser.run(f"{MARKS}[0].focus(); null")
    first = browser.run(words)
    browser.press("ArrowDown")
    second = browser.run(words)
    for told in (first, second):
        assert re.fullmatch(
            r"baseline .*: seed \d, λ [\d.]+, L0 [\d.]+, loss recovered 0\.\d+, alive \d+ %, key [0-9a-f]{16}", told
        )
    assert first != second and browser.run(f"{MARKS}.filter((run) => run.matches('.chosen')).length") == 1
    assert browser.run(f"{MARKS}.filter((run) => run.tabIndex === 0).length") == 1


def test_tap_near_a_mark_tells_its_run(browser, pareto):
    pareto(width=390)
    told = browser.run(
        f"(() => {{ const run = {MARKS}[5], box = run.querySelector('.ring').getBoundingClientRect();"
        " run.closest('.plot').dispatchEvent(new MouseEvent('click', {bubbles: true, clientX: box.x + 9, clientY: box.y + 9}));"
        " const chosen = document.querySelector('.run.chosen'), at = chosen.querySelector('.ring').getBoundingClientRect();"
        " return [document.querySelector('.run-words').textContent, chosen.querySelector('title').textContent, Math.hypot(at.x - box.x, at.y - box.y)]; })()"
    )
    assert told[0] == told[1] and told[2] < 2


def test_slider_draws_the_level_and_says_its_ratio(browser, pareto):
    pareto()
    state = (
        "(() => { const plot = document.querySelector('.plot'), at = (one) => getComputedStyle(one).display === 'none' ? null : one.getBoundingClientRect();"
        " const level = at(plot.querySelector('.level')), drops = [...plot.querySelectorAll('.drop')].map(at);"
        " return [document.querySelector('.equal-loss output').value, document.querySelector('.ratios td.at').textContent, level.y, drops.map((d) => [d.x, d.y])]; })()"
    )
    seen = []
    for value in (2, 20):
        browser.run(
            "{ const input = document.querySelector('.equal-loss input');"
            f" input.value = {value}; input.dispatchEvent(new Event('input', {{bubbles: true}})); }} null"
        )
        seen.append(browser.run(state))
    levels = browser.run("JSON.parse(document.querySelector('.equal-loss script').textContent)")
    for value, (loss, ratio, y, drops) in zip((2, 20), seen, strict=True):
        assert (loss, ratio) == (levels[value]["loss"], levels[value]["ratios"][0])
        assert all(abs(place[1] - y) < 1.5 for place in drops) and drops[0][0] != drops[1][0]
    assert seen[0][2] > seen[1][2]  # more loss recovered lies further up


def test_cells_of_the_map_open_their_curves(browser, html):
    browser.open(html / "notebooks" / "gated" / "fig12_sites.html")
    shown = "[...document.querySelectorAll('.drawn-figure details.panel')].filter((one) => one.offsetParent).map((one) => one.id)"
    first = browser.run(shown)
    assert len(first) == 1
    browser.run("document.querySelectorAll('.heat-map a')[6].focus(); null")
    browser.press("Enter")
    assert browser.run(shown) == [browser.run("document.querySelectorAll('.heat-map a')[6].hash.slice(1)")] != first
    assert browser.run("document.querySelectorAll('.heat-map [aria-current]').length") == 1


def test_downloads_lead_somewhere_and_every_result_has_some(browser, html, drawn):
    having = [page for page in pages(html) if "figure-files" in page.read_text("utf-8")]
    assert set(drawn) <= set(having)
    for page in having:
        row = page.read_text("utf-8").partition("figure-files")[2].partition("</div>")[0]
        files = [(page.parent / link).resolve() for link in re.findall(r'href="([^"#]+)"', row)]  # not the glossary's
        kinds = [file.suffix for file in files]
        assert all(file.is_file() for file in files) and {".csv", ".json"} <= set(kinds), page.name
        assert (".svg" in kinds) == (page in drawn), page.name


def test_without_a_script_figure_and_table_are_there(html, drawn):
    for page in drawn:
        text = page.read_text("utf-8").partition('<figure class="drawn-figure"')[2].partition("</figure>")[0]
        assert text.count('<svg class="run"') > 0 and "as a table</summary>" in text and "<tbody>" in text, page.name
