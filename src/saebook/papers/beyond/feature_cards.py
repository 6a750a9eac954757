"""Cards of latents of a reader's own SAEs: drawn by the browser's rule, measured on its rows, and shown without a script.

Letters: N rows, T positions, m latents that are shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saebook.common.errors import UserError
from saebook.common.templates import render
from saebook.evaluation.features import bands, firings, logit_effects
from saebook.evaluation.features.firings import Firings
from saebook.papers.beyond import dashboards
from saebook.plotting.widgets import Markup
from saebook.sae.base import SAEStack
from saebook.subject.model import Site, Subject

MOST = 20  # cards of an SAE, however many features are asked for
_TOKENS = 8  # raised, and as many lowered
_DRAW = 53  # a stream of random numbers: which contexts the middle and the random band show
_DEEPEST = 0.6  # opacity of the strongest shade: text on it can be read on a light page and on a dark one
_HEIGHT, _WIDTH = 40, 240  # of a histogram, in units of its view box


@dataclass(frozen=True)
class Context:
    """A window of text: `tokens` as text, the latent's activation at each (0 where it is off), and which one is the `peak`."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int


@dataclass(frozen=True)
class Card:
    """One latent: `contexts` by band, `counts` from 0 to the `largest` activation, and tokens with the change of their logit."""

    latent: int
    density: float
    largest: float
    counts: tuple[int, ...]
    contexts: dict[str, list[Context]]
    raised: tuple[tuple[str, float], ...]
    lowered: tuple[tuple[str, float], ...]


@torch.inference_mode()
def measured(
    saes: Mapping[str, SAEStack], subject: Subject, site: Site, rows: Tensor, skip: int, features: int, contexts: int
) -> dict[str, list[Card]]:
    """Cards of `features` latents of each of `saes`, but of `MOST` at most, drawn among those that fire on `rows` [N, T].

    Where fewer fire, they are all shown. Raises `UserError` for an SAE of which none does. The text goes through the subject
    once, and not at all where there are no SAEs.
    """
    if not saes:
        return {}
    stacks = [sae.to(subject.device) for sae in saes.values()]
    fired = firings.firings(subject, site, stacks, rows, skip)
    cards = {}
    for name, sae, of in zip(saes, stacks, fired, strict=True):
        alive = of.counts().nonzero().flatten()
        if not len(alive):
            raise UserError(f"no latent of {name} fires on this text: is it for this model and this site?")
        latents = dashboards.drawn(alive, min(features, MOST, len(alive)), name)
        effects = logit_effects.effects(subject, site, sae.W_dec[0, latents], _TOKENS)
        cards[name] = _cards(of.of(latents), latents, effects, rows, subject.tokenizer, contexts)
    return cards


def shown(cards: Mapping[str, list[Card]]) -> Markup | None:
    """The cards of each SAE as HTML, every token escaped; None where there is no SAE."""
    if not cards:
        return None
    saes = [{"name": name, "cards": [_fields(card) for card in some]} for name, some in cards.items()]
    return Markup(render("saebook.papers.beyond", "feature_cards.html", saes=saes))


def _cards(
    of: Firings, latents: Tensor, effects: logit_effects.Effects, rows: Tensor, tokenizer, contexts: int
) -> list[Card]:
    """A card of each of the m `latents`, whose firings are `of`."""
    density, largest = of.density().tolist(), of.largest().tolist()
    counts = firings.histogram(of, dashboards.BINS).tolist()
    seen = {name: _contexts(of, name, rows, tokenizer, contexts) for name in bands.BANDS}
    raised = _changes(effects.raised, effects.raised_by, tokenizer)
    lowered = _changes(effects.lowered, effects.lowered_by, tokenizer)
    return [
        Card(
            latent, density[i], largest[i], tuple(counts[i]), {name: some[i] for name, some in seen.items()},
            raised[i], lowered[i],
        )
        for i, latent in enumerate(latents.tolist())
    ]  # fmt: skip


def _contexts(of: Firings, name: str, rows: Tensor, tokenizer, count: int) -> list[list[Context]]:
    """The windows of one band, by latent."""
    seen = bands.windows(of, bands.band(of, name, count, _DRAW), dashboards.WINDOW)
    length = min(dashboards.WINDOW, of.length)
    positions, values = of.position.tolist(), of.value.tolist()
    made: list[list[Context]] = [[] for _ in range(of.latents)]
    columns = (tensor.tolist() for tensor in vars(seen).values())
    for latent, row, start, peak, first, last in zip(*columns, strict=True):
        activations = [0.0] * length
        for c in range(first, last):
            activations[positions[c] - start] = values[c]
        tokens = tuple(tokenizer.decode([token]) for token in rows[row, start : start + length].tolist())
        made[latent].append(Context(tokens, tuple(activations), peak - start))
    return made


def _changes(tokens: Tensor, changes: Tensor, tokenizer) -> list[tuple[tuple[str, float], ...]]:
    return [
        tuple((tokenizer.decode([token]), change) for token, change in zip(*line, strict=True))
        for line in zip(tokens.tolist(), changes.tolist(), strict=True)
    ]


def _fields(card: Card) -> dict[str, Any]:
    """What the template shows of a card."""
    return {
        "latent": card.latent,
        "percent": f"{100 * card.density:.2g}",
        "largest": f"{card.largest:.3g}",
        "bars": _bars(card.counts),
        "bands": {
            name: [_pieces(context, card.largest) for context in some] for name, some in card.contexts.items() if some
        },
        "effects": {
            words: [{"text": _visible(token).strip(" ") or "\u2423", "by": f"{by:+.2g}"} for token, by in changes]
            for words, changes in (("Raises", card.raised), ("Lowers", card.lowered))
        },
    }


def _pieces(context: Context, largest: float) -> list[dict[str, Any]]:
    """Each token with its activation and the opacity of its shade, which is none where the latent is off."""
    return [
        {
            "text": _visible(token),
            "value": f"{value:.3g}",
            "shade": f"{_DEEPEST * value / largest:.3f}" if value > 0 else "",
            "peak": i == context.peak,
        }
        for i, (token, value) in enumerate(zip(context.tokens, context.activations, strict=True))
    ]


def _visible(token: str) -> str:
    return token.replace("\n", "\u21b5").replace("\t", "\u21e5")


def _bars(counts: tuple[int, ...]) -> list[dict[str, str]]:
    """The histogram as rectangles that stand on a line."""
    step, top = _WIDTH / len(counts), max(*counts, 1)
    return [
        {"x": f"{i * step:.1f}", "y": f"{_HEIGHT * (1 - count / top):.1f}", "width": f"{step - 1:.1f}",
         "height": f"{_HEIGHT * count / top:.1f}"}
        for i, count in enumerate(counts)
    ]  # fmt: skip
