"""The feature browser, used as a reader would."""

import json
import re

import pytest
from browser.conftest import THEMES, WIDTHS

MOST_BYTES = 3_000_000
ROWS = "[...document.querySelectorAll('table.features tbody tr')].filter((row) => !row.hidden)"
CURRENT = "document.querySelector('table.features tr[aria-current]')"
FILL = "{{ const form = document.querySelector('.features-filter'); form.elements.{name}.value = {value}; form.dispatchEvent(new Event('input')); null }}"


@pytest.fixture
def features(browser, html):
    return lambda query="", **how: browser.open(html / "book" / "features.html", query, **how)


@pytest.fixture
def data(html):
    """What the page's script reads."""
    text = (html / "book" / "features.html").read_text("utf-8")
    return json.loads(text.partition('class="features-data">')[2].partition("</script>")[0])


def fill(browser, name, value):
    browser.run(FILL.format(name=name, value=json.dumps(value)))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_dashboard_is_drawn_within_the_page(browser, features, width, theme):
    features(width=width, theme=theme)
    assert browser.errors == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    left, right, height = browser.run(
        "(({left, right, height}) => [left, right, height])(document.querySelector('article.feature').getBoundingClientRect())"
    )
    assert 0 <= left < right <= width and height > 400
    shades = browser.run(
        "[...document.querySelectorAll('.feature .on')].map((one) => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(shades)) > 2 and not any(shade == "rgba(0, 0, 0, 0)" for shade in shades)
    bars = browser.run(
        "[...document.querySelectorAll('.feature svg rect')].map((bar) => bar.getBoundingClientRect().height)"
    )
    assert len(bars) == 24 and max(bars) > 40


def test_themes_have_colours_of_their_own(browser, features):
    seen = []
    for theme in THEMES:
        features(theme=theme)
        seen.append(browser.run("getComputedStyle(document.querySelector('.feature svg')).fill"))
    assert len(set(seen)) == len(THEMES)


def test_bands_show_windows_with_their_token_underlined(browser, features, data):
    features()
    lists = browser.run(
        "[...document.querySelectorAll('.feature .contexts')].map((list) => [...list.children].map((item) => item.querySelectorAll('.peak').length))"
    )
    bands = [band for band in data["shown"][0][7:10] if band]
    assert [len(one) for one in lists] == [len(band.split("|")) for band in bands]
    assert all(count == 1 for one in lists for count in one)


def test_search_keeps_latents_of_a_token_and_stands_in_the_address(browser, features, data):
    features()
    every = browser.run(f"{ROWS}.length")
    assert every == len(data["shown"])
    raised = [[data["tokens"][int(one.split(":")[0])] for one in line[5].split()] for line in data["shown"]]
    token = next(word for word in raised[0] if re.fullmatch(r" ?[a-z]{3,}", word)).strip()
    fill(browser, "token", token)
    left = browser.run(f"{ROWS}.length")
    assert 0 < left < every
    assert browser.run("document.querySelector('.features-filter output').value") == f"{left} of {every} latents"
    with_it = sum(any(token in word.lower() for word in words) for words in raised)
    assert left >= with_it and f"token={token}" in browser.run("location.search")
    fill(browser, "token", "no text holds this")
    assert browser.run(f"{ROWS}.length") == 0 and browser.errors == []


@pytest.mark.parametrize(("order", "column", "sign"), [("rare", 2, 1), ("dense", 2, -1), ("largest", 3, -1)])
def test_sorting_orders_by_the_numbers(browser, features, data, order, column, sign):
    features(f"?sort={order}&kind=gated")
    shown = browser.run(f"{ROWS}.map((row) => row.id)")
    numbers = {f"{data['saes'][line[0]]['method']}-{line[1]}": sign * line[column] for line in data["shown"]}
    assert shown and all(one.startswith("gated-") for one in shown)
    assert [numbers[one] for one in shown] == sorted(numbers[one] for one in shown)


def test_sorting_by_similarity_puts_the_nearest_first(browser, features, data):
    features("?sort=alike")
    shown = browser.run(f"{ROWS}.map((row) => row.id)")
    cosine = {
        f"{data['saes'][line[0]]['method']}-{line[1]}": int(line[10].split()[0].split(":")[2]) for line in data["shown"]
    }
    assert [cosine[one] for one in shown] == sorted(cosine.values(), reverse=True)


def test_address_opens_its_latent_with_its_search(browser, features, data):
    line = data["shown"][-1]
    name = f"{data['saes'][line[0]]['method']}-{line[1]}"
    features(f"?kind=relu&sort=rare#{name}")
    assert browser.run(f"{CURRENT}.id") == name
    assert str(line[1]) in browser.run("document.querySelector('.feature h2').textContent")
    assert browser.run("document.querySelector('.features-filter').elements.sort.value") == "rare"
    fill(browser, "sort", "dense")
    assert browser.run("location.search") == "?kind=relu&sort=dense" and browser.run("location.hash") == f"#{name}"
    features("?sort=nonsense&kind=nobody#nothing")
    assert browser.run(f"{ROWS}.length") == len(data["shown"]) and browser.errors == []


def test_keys_walk_through_the_latents(browser, features):
    features()
    browser.run(f"{ROWS}[0].querySelector('a').focus(); null")
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    assert browser.run(f"{ROWS}.indexOf({CURRENT})") == 2
    assert browser.run(f"document.activeElement === {CURRENT}.querySelector('a')")
    assert browser.run("location.hash.slice(1)") == browser.run(f"{CURRENT}.id")
    browser.press("End")
    assert browser.run(f"{ROWS}.indexOf({CURRENT}) === {ROWS}.length - 1")
    browser.run("document.querySelector('.feature .previous').click(); null")
    assert browser.run(f"{ROWS}.indexOf({CURRENT}) === {ROWS}.length - 2")


def test_without_a_script_every_latent_has_a_line_and_the_page_is_small(html, data):
    file = html / "book" / "features.html"
    text = file.read_text("utf-8")
    body = text.partition('<table class="features">')[2].partition("</table>")[0]
    assert body.count("<tr id=") == len(data["shown"]) > 0
    assert 'class="features-filter" hidden' in text and '<article class="feature" hidden' in text
    assert file.stat().st_size < MOST_BYTES
