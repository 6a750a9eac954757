"""Feature cards as a form that a reader can fill in, on the page or as a file of its own, and save as a CSV.

The form names no SAE. It carries the hash of its key, and so do the ratings that it saves.
"""

from collections.abc import Sequence
from typing import Any

from saebook.common.templates import render
from saebook.plotting.rating.cards import Card, Context
from saebook.plotting.rating.given import LABELS
from saebook.plotting.widgets import Markup, download

_PACKAGE = "saebook.plotting.rating"
_DEEPEST = 0.6  # opacity of the strongest shade: text on it can be read on a light page and on a dark one
_HEIGHT, _WIDTH = 40, 200  # of a histogram, in units of its view box


def form(cards: Sequence[Card], cards_hash: str) -> Markup:
    """The form for `cards`, and a link that saves it as a page of its own."""
    shown = [_card(number, card) for number, card in enumerate(cards, 1)]
    inner = render(_PACKAGE, "form.html", cards=shown, cards_hash=cards_hash, labels=LABELS)
    alone = render(_PACKAGE, "form_page.html", form=inner, count=len(cards))
    link = download(f"rate_{cards_hash}.html", alone, "Save this form as a page of its own", "text/html")
    return Markup(f"{inner}<p>{link}</p>")


def _card(number: int, card: Card) -> dict[str, Any]:
    """The fields of a card for the template."""
    return {
        "number": number,
        "percent": f"{100 * card.density:.2g}",
        "largest": f"{card.largest:.3g}",
        "bars": _bars(card.counts),
        "contexts": [_tokens(context, card.largest) for context in card.contexts],
        "promoted": [_visible(token) for token in card.promoted],
    }


def _tokens(context: Context, largest: float) -> list[dict[str, Any]]:
    """Each token with its activation, and the opacity of its shade: 0 where the latent is off."""
    return [
        {
            "text": _visible(token),
            "value": f"{value:.3g}",
            "shade": f"{_DEEPEST * value / largest:.2f}" if value > 0 else "",
        }
        for token, value in zip(context.tokens, context.activations, strict=True)
    ]


def _visible(token: str) -> str:
    return token.replace("\n", "\u21b5").replace("\t", " ")


def _bars(counts: Sequence[int]) -> list[dict[str, str]]:
    """The histogram of how often the latent has each strength, from zero to its largest, as rectangles."""
    top, width = max([*counts, 1]), _WIDTH / len(counts)
    heights = [_HEIGHT * count / top for count in counts]
    return [
        {
            "x": f"{i * width:.1f}",
            "y": f"{_HEIGHT - height:.1f}",
            "width": f"{width - 1:.1f}",
            "height": f"{height:.1f}",
        }
        for i, height in enumerate(heights)
    ]
