"""Cards of features as a form that a reader can fill in, on the page or as a file of its own, and save as a CSV.

The form names no SAE. It carries the hash of its key, and so do the ratings that it saves.
"""

from collections.abc import Sequence
from html import escape

from saebook.book.widgets import Markup, download
from saebook.papers.gated.human_study.cards import Card, Context
from saebook.papers.gated.human_study.ratings import LABELS


def form(cards: Sequence[Card], cards_hash: str) -> Markup:
    """The form, and a link that saves it as a page of its own."""
    inner = _form(cards, cards_hash)
    alone = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Rate {len(cards)} features</title><body>{inner}</body></html>"
    )
    link = download(f"rate_{cards_hash}.html", alone, "Save this form as a page of its own", "text/html")
    return Markup(f"{inner}<p>{link}</p>")


def _form(cards: Sequence[Card], cards_hash: str) -> str:
    body = "".join(_card(number, card) for number, card in enumerate(cards, 1))
    return (
        f'{_STYLE}<form class="rating" data-hash="{cards_hash}">{body}<p><button type="submit">Download my ratings</button> '
        f'<output aria-live="polite"></output></p></form>\n{_SCRIPT}'
    )


def _card(number: int, card: Card) -> str:
    texts = "".join(f"<li>{_context(context, card.largest)}</li>" for context in card.contexts)
    radios = "".join(
        f'<label><input type="radio" name="label-{number}" value="{word}"> {word}</label>' for word in LABELS
    )
    raises = ", ".join(f"<code>{escape(_visible(token))}</code>" for token in card.promoted)
    return (
        f'<details class="card" data-card="{number}"{" open" if number == 1 else ""}><summary>Feature {number}</summary>'
        f"<p>On for {100 * card.density:.2g} % of tokens; at most {card.largest:.3g}.</p>{_histogram(card)}<ol>{texts}</ol>"
        + (f"<p>Raises the logits of {raises}.</p>" if raises else "")
        + f"<p><label>What is it about? <textarea rows=2></textarea></label></p>"
        f"<fieldset><legend style='font-size:1em'>Does that explanation fit what you see?</legend>{radios}</fieldset></details>"
    )


def _context(context: Context, largest: float) -> str:
    return "".join(
        f'<span title="{value:.3g}" style="background:rgba(213,94,0,{0.85 * value / largest:.2f})">{escape(_visible(token))}</span>'
        if value > 0
        else escape(_visible(token))
        for token, value in zip(context.tokens, context.activations, strict=True)
    )


def _visible(token: str) -> str:
    return token.replace("\n", "\u21b5").replace("\t", " ")


def _histogram(card: Card) -> str:
    """Bars of how often the latent has each strength, from zero to its largest."""
    top, width = max([*card.counts, 1]), 200 / len(card.counts)
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{40 - 40 * count / top:.1f}" width="{width - 1:.1f}" height="{40 * count / top:.1f}"/>'
        for i, count in enumerate(card.counts)
    )
    words = f"Histogram of activations from 0 to {card.largest:.3g}, where it is on"
    return f'<svg viewBox="0 0 200 41" role="img" aria-label="{words}">{bars}<path d="M0 40.5H200" stroke="currentColor"/></svg>'


_STYLE = """<style>
form.rating { font-size: 0.95em; }
form.rating details { border: 1px solid #8888; border-radius: 4px; padding: 0.4em 0.8em; margin: 0.4em 0; }
form.rating summary { cursor: pointer; font-weight: 600; }
form.rating details.rated summary::after { content: " \\2713"; }
form.rating svg { width: 200px; height: 41px; fill: #0072b2; }
form.rating li { font-family: monospace; font-size: 0.9em; overflow-wrap: anywhere; }
form.rating textarea { width: 100%; max-width: 40em; font: inherit; display: block; }
form.rating fieldset { border: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0.3em 1.2em; }
</style>"""

_SCRIPT = """<script>
document.querySelectorAll("form.rating").forEach((form) => {
  const cards = [...form.querySelectorAll(".card")], quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const label = (card) => card.querySelector("input:checked")?.value ?? "";
  const count = () => {
    cards.forEach((card) => card.classList.toggle("rated", label(card) !== ""));
    form.querySelector("output").value = `${cards.filter(label).length} of ${cards.length} rated`;
  };
  form.addEventListener("change", count);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const rows = cards.map((card) => [card.dataset.card, label(card), quoted(card.querySelector("textarea").value), form.dataset.hash]);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([["card,label,explanation,cards_hash", ...rows].join("\\n") + "\\n"], {type: "text/csv"}));
    link.download = `ratings_${form.dataset.hash}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  count();
});
</script>
"""
