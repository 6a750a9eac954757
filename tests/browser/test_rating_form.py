"""The blind rating form of the Gated paper's Figure 7: filled in, left, come back to, saved."""

import json

import pytest
from browser.conftest import THEMES, WIDTHS

CARDS = "[...document.querySelectorAll('form.rating .card')]"
OPEN = f"{CARDS}.filter((card) => card.open).map((card) => card.dataset.card)"
SAID = "document.querySelector('form.rating output').value"
LEAST_CONTEXTS = 6


@pytest.fixture
def rating(browser, html):
    """A function that opens the page with the form, as if for the first time where `fresh`."""

    def open_page(fresh=True, **how):
        page = html / "notebooks" / "gated" / "fig07_interpretability.html"
        if fresh:
            browser.open(page, **how)
            browser.run("localStorage.clear()")
        browser.open(page, **how)

    return open_page


def rate(browser, card, label):
    browser.run(f"{CARDS}[{card}].querySelector('input[value={label}]').click(); null")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_cards_are_whole_and_within_the_page(browser, rating, width, theme):
    rating(width=width, theme=theme)
    counts = browser.run(f"{CARDS}.map((card) => card.querySelectorAll('ol > li').length)")
    assert counts and min(counts) >= LEAST_CONTEXTS
    assert browser.run(OPEN) == ["1"] and browser.errors == []
    boxes = browser.run(
        f"[...{CARDS}[0].querySelectorAll('li, textarea, fieldset, svg, button:not([hidden])')].map((one) => one.getBoundingClientRect()).map((b) => [b.left, b.right])"
    )
    assert all(0 <= left < right <= width for left, right in boxes)


def test_themes_have_colours_of_their_own(browser, rating):
    seen = []
    for theme in THEMES:
        rating(theme=theme)
        of = "(name, part) => getComputedStyle(document.querySelector(name))[part]"
        seen.append(
            [
                browser.run(f"({of})('form.rating {name}', '{part}')")
                for name, part in (("summary", "color"), ("svg", "fill"), ("textarea", "backgroundColor"))
            ]
        )
    assert all(light != dark for light, dark in zip(*seen, strict=True))


def test_next_leads_through_the_cards_and_then_to_the_first_without_a_label(browser, rating):
    rating()
    count = browser.run(f"{CARDS}.length")
    rate(browser, 0, "Yes")
    for number in range(2, count + 1):
        browser.run(f"{CARDS}.find((card) => card.open).querySelector('.next').click(); null")
        assert browser.run(OPEN) == [str(number)]
        assert browser.run("document.activeElement.closest('.card')?.dataset.card") == str(number)
    browser.run(f"{CARDS}.at(-1).querySelector('.next').click(); null")
    assert browser.run(OPEN) == ["2"]
    browser.run(f"{CARDS}[1].querySelector('.previous').click(); null")
    assert browser.run(OPEN) == ["1"] and browser.run(f"{CARDS}[0].querySelector('.previous').hidden")


def test_ratings_are_kept_and_the_next_visit_begins_where_the_last_one_ended(browser, rating):
    rating()
    count = browser.run(f"{CARDS}.length")
    rate(browser, 0, "Maybe")
    browser.run(
        "{ const words = document.querySelector('form.rating textarea'); words.value = 'full stops, \"quoted\"'; words.dispatchEvent(new Event('input', {bubbles: true})); null }"
    )
    assert browser.run(SAID) == f"1 of {count} rated, kept in this browser"
    rating(fresh=False)
    assert browser.run(SAID).startswith(f"1 of {count} rated") and browser.run(OPEN) == ["2"]
    assert browser.run(f"{CARDS}[0].querySelector('input:checked').value") == "Maybe"
    assert browser.run("document.querySelector('form.rating textarea').value") == 'full stops, "quoted"'


def test_saved_file_holds_every_card_and_the_hash(browser, rating):
    rating()
    rate(browser, 1, "No")
    browser.run(
        "window.saved = []; URL.createObjectURL = (blob) => { window.saved.push(blob); return 'data:,'; }; null"
    )
    browser.run(
        "document.querySelector('form.rating').addEventListener('click', (event) => event.preventDefault()); null"
    )
    browser.run("HTMLAnchorElement.prototype.click = function () { window.name_of_file = this.download; }; null")
    browser.run("document.querySelector('form.rating').requestSubmit(); null")
    lines = browser.run("window.saved[0].text()").splitlines()
    cards_hash = browser.run("document.querySelector('form.rating').dataset.hash")
    assert lines[0] == "card,label,explanation,cards_hash" and lines[2] == f'2,No,"",{cards_hash}'
    assert len(lines) == 1 + browser.run(f"{CARDS}.length")
    assert browser.run("window.name_of_file") == f"ratings_{cards_hash}.csv"


def test_key_is_on_another_page_alone(browser, rating, html):
    rating()
    form = browser.run("document.querySelector('form.rating').textContent").lower()
    assert not any(word in form for word in ("gated", "baseline", "relu"))
    links = browser.run("[...document.querySelectorAll('.bd-article a')].map((link) => link.getAttribute('href'))")
    key = (html / "book" / "rating-key.html").read_text("utf-8")
    assert any("rating-key.html" in (link or "") for link in links)
    cards_hash = browser.run("document.querySelector('form.rating').dataset.hash")
    assert json.dumps(cards_hash)[1:-1] in key and "Gated" in key
