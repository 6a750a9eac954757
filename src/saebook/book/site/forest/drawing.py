"""Intervals as inline SVG. Places are in percent, so that a picture is as wide as its reader's page; colours come from the page."""

import math
from html import escape

from saebook.book.site.figures import svg
from saebook.book.site.forest.scale import LEFT, RIGHT, Scale, scale
from saebook.claims import wording
from saebook.claims.ledger import Claim, Verdict
from saebook.claims.rules import Value
from saebook.evaluation.intervals import Interval

_ROW, _STEP, _TICKS = (
    22,
    7,
    15,
)  # pixels: the height of a row, between the contrasts of an ordering, and of numbers below

_OPEN = '<rect class="open" x="-4.5" y="-4.5" width="9" height="9"/>'
# A verdict is told by shape first and by colour second.
MARKS = {
    Verdict.REPLICATES.value: '<circle r="5"/>',
    Verdict.PARTLY.value: '<path d="M-6 0 0-6 6 0 0 6Z"/>',
    Verdict.DOES_NOT.value: '<path class="stroke" d="M-4.5-4.5 4.5 4.5M-4.5 4.5 4.5-4.5"/>',
    Verdict.UNDERPOWERED.value: _OPEN,
}


def mark(verdict: str) -> str:
    """The mark of a verdict on its own, for a legend and a list."""
    return f'<svg class="sign" viewBox="-8 -8 16 16" aria-hidden="true">{MARKS[verdict]}</svg>'


def legend() -> list[tuple[str, str]]:
    """Every verdict with its mark."""
    return [(verdict, mark(verdict)) for verdict in MARKS]


def row(claim: Claim, verdict: str, value: Value, ticks: bool = False) -> str:
    """The interval of a claim, or one for each contrast of an ordering, above the range in which it holds.

    A number without a verdict is drawn open, like an undecided one. `ticks` are the numbers that decide, below it.
    """
    intervals = _several(value)
    of, height = scale(claim, intervals), _ROW + _STEP * (len(intervals) - 1)
    parts = [_range(of, height)]
    for i, one in enumerate(intervals):
        parts += _interval(of, one, verdict, _ROW / 2 + _STEP * i)
    if ticks:
        parts += [_text(place, height + 12, words) for place, words in _labels(of)]
        height += _TICKS
    label = f"{wording.interval(value)}; {wording.rule(claim)}"
    return f'<svg class="interval" role="img" height="{height}" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def card(claim: Claim, verdict: str, value: Value) -> str:
    """A larger picture, with one dot for each value that went in, the paper's number, and the numbers that decide."""
    intervals = _several(value)
    paper = [Interval(claim.paper_value, claim.paper_value, claim.paper_value, 1)] if claim.paper_value else []
    of = scale(claim, [*intervals, *paper])
    bottom = 16 + (_ROW + 6) * len(intervals)
    parts = [_range(of, bottom, top=16)]
    for i, one in enumerate(intervals):
        y = 16 + (_ROW + 6) * i + 10
        parts += _interval(of, one, verdict, y)
        parts += [f'<circle class="dot" cx="{_at(of.place(single))}" cy="{y + 11}" r="2.5"/>' for single in one.values]
    if paper and claim.paper_value is not None:
        place = of.place(claim.paper_value)
        parts.append(svg.line("paper", (_at(place), _at(place)), (14, bottom)))
        parts.append(_text(place, 11, f"paper {claim.paper_value:g}"))
    parts += [_text(place, bottom + 13, words) for place, words in _labels(of)]
    return f'<svg class="interval large" aria-hidden="true" height="{bottom + 18}">{"".join(parts)}</svg>'


def _several(value: Value) -> list[Interval]:
    return [value] if isinstance(value, Interval) else list(value)


def _range(of: Scale, height: float, top: float = 0) -> str:
    """The claimed range as an area, and the null value as a dashed line."""
    first, last = 1.0, RIGHT if of.end is None else max(of.place(of.end), 1.04)
    area = f'<rect class="range" x="{_at(first)}" width="{_share(last - first)}" y="{top}" height="{height - top:g}"/>'
    zero = _at(0.0 if of.outside else of.place(of.null))
    return area + svg.line("null", (zero, zero), (top, height))


def _interval(of: Scale, one: Interval, verdict: str, y: float) -> list[str]:
    """A line from end to end, with an arrow where it goes on, and the verdict's mark at the mean."""
    if math.isnan(one.mean):
        return []
    ends = sorted((of.place(one.low), of.place(one.high)))
    parts = [svg.line("ends", (_at(ends[0]), _at(ends[1])), (y, y))]
    if ends[0] <= LEFT:
        parts.append(svg.placed(_at(LEFT), y, '<path d="M1 0 7-4 7 4Z"/>'))
    if ends[1] >= RIGHT:
        parts.append(svg.placed(_at(RIGHT), y, '<path d="M-1 0-7-4-7 4Z"/>'))
    return [*parts, svg.placed(_at(of.place(one.mean)), y, MARKS.get(verdict, _OPEN))]


def _labels(of: Scale) -> list[tuple[float, str]]:
    """The numbers at the null value and at the ends of the range, each with its place."""
    ends = [(1.0, of.edge)] + ([(of.place(of.end), of.end)] if of.end is not None and of.end != of.edge else [])
    null = [(0.0, of.null)] if of.outside else []
    return [(place, wording.number(value)) for place, value in [*null, *ends]]


def _text(place: float, y: float, words: str) -> str:
    anchor = "start" if place < LEFT + 0.5 else "end" if place > RIGHT - 0.5 else "middle"
    return svg.text(_at(place), y, words, anchor)


def _at(place: float) -> str:
    return svg.percent(0.03 + 0.94 * (place - LEFT) / (RIGHT - LEFT))


def _share(width: float) -> str:
    return svg.percent(0.94 * width / (RIGHT - LEFT))


def reach(claim: Claim, value: Value) -> float:
    """How far the weakest interval's mean reaches into the claimed range, on the common scale: what rows are sorted by."""
    of = scale(claim, _several(value))
    return min((of.place(one.mean) for one in _several(value) if not math.isnan(one.mean)), default=LEFT)
