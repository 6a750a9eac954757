"""The forest plot of the front page, used as a reader would."""

import pytest
from browser.conftest import THEMES, WIDTHS

SHOWN = "[...document.querySelectorAll('.forest details.evidence')].filter((row) => row.offsetParent !== null)"


@pytest.fixture
def front(browser, html):
    return lambda query="", **how: browser.open(html / "book" / "index.html", query, **how)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_drawn_within_the_page(browser, front, width, theme):
    front(width=width, theme=theme)
    boxes = browser.run(
        f"{SHOWN}.map((row) => row.querySelector('svg.interval').getBoundingClientRect()).map((b) => [b.left, b.right, b.height])"
    )
    assert boxes and all(0 <= left < right <= width and height >= 20 for left, right, height in boxes)
    colours = browser.run(
        "[...document.querySelectorAll('.forest .legend .key[data-verdict]')].map((key) => getComputedStyle(key).color)"
    )
    assert len(set(colours)) == len(colours) == 4


@pytest.mark.parametrize("theme", THEMES)
def test_signs_have_their_verdicts_colour_on_the_pages_own_ground(browser, front, theme):
    front(theme=theme)
    signs = browser.run(
        "[...document.querySelectorAll('.key[data-verdict] svg.sign')].map((sign) => [sign, sign.parentElement].map("
        "(one) => getComputedStyle(one))).map(([own, key]) => [own.backgroundColor, own.fill === key.color])"
    )
    assert signs and all(sign == ["rgba(0, 0, 0, 0)", True] for sign in signs)


@pytest.mark.parametrize("width", WIDTHS)
def test_counts_fit_the_page(browser, front, width):
    front(width=width)
    wide, room = browser.run(
        "[document.querySelector('table.counts')].map((one) => [one.scrollWidth, one.parentElement.clientWidth])[0]"
    )
    assert 0 < wide <= room


def test_filters_narrow_the_rows_and_stand_in_the_address(browser, front):
    front()
    every = browser.run(f"{SHOWN}.length")
    choose = "const form = document.querySelector('.forest-filter'); form.elements.{name}.value = '{value}'; form.dispatchEvent(new Event('input')); null"
    browser.run("{" + choose.format(name="verdict", value="replicates") + "}")
    verdicts = browser.run(f"{SHOWN}.map((row) => row.dataset.verdict)")
    assert 0 < len(verdicts) < every and set(verdicts) == {"replicates"}
    assert browser.run("document.querySelector('.forest-filter output').value") == f"{len(verdicts)} of {every} claims"
    assert "verdict=replicates" in browser.run("location.search")
    front("?verdict=replicates&paper=gated")
    rows = browser.run(f"{SHOWN}.map((row) => [row.dataset.verdict, row.dataset.paper])")
    assert rows and all(row == ["replicates", "gated"] for row in rows)


def test_sorting_by_effect_puts_the_largest_first_in_each_paper(browser, front):
    front("?sort=reach")
    for paper in browser.run("[...document.querySelectorAll('.forest-paper')].map((one) => one.dataset.paper)"):
        reach = browser.run(
            f"{SHOWN}.filter((row) => row.dataset.paper === '{paper}').map((row) => Number(row.dataset.reach))"
        )
        assert reach == sorted(reach, reverse=True)


def test_keys_walk_through_the_rows_and_open_one(browser, front):
    front()
    browser.run(f"{SHOWN}[0].querySelector('summary').focus(); null")
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    here = "document.activeElement.parentElement"
    assert browser.run(f"{SHOWN}.indexOf({here})") == 2
    browser.press("Enter")
    assert browser.run(f"{here}.open") and browser.run(f"{here}.querySelector('.card').offsetHeight") > 50
    browser.run("new Promise((done) => setTimeout(done, 100))")
    assert browser.run("location.hash.slice(1)") == browser.run(f"{here}.id")


def test_address_opens_its_row_and_its_links_lead_somewhere(browser, front, html):
    front()
    row = browser.run(f"{SHOWN}[3].id")
    front(f"#{row}")
    assert browser.run(f"document.getElementById('{row}').open")
    links = browser.run("[...document.querySelectorAll('.forest .card a')].map((link) => link.getAttribute('href'))")
    pages = {link.split("#")[0] for link in links}
    assert links and all((html / "book" / page).resolve().is_file() for page in pages), pages


def test_without_a_script_the_rows_are_all_there(html):
    text = (html / "book" / "index.html").read_text("utf-8").partition('<section class="forest"')[2]
    assert text.count('<details class="evidence"') == text.count('<svg class="interval" role="img"') > 0
