"""Numbers, intervals and criteria of claims in words, as the pages show them."""

import math
from collections.abc import Sequence

from saebook.claims import levels, rules
from saebook.claims.ledger import Claim
from saebook.evaluation.intervals import Interval

_MOST_DECIMALS = 6


def interval(value: Interval | Sequence[Interval]) -> str:
    """`0.56 (0.53 to 0.59)`; for the contrasts of an ordering, each in turn."""
    return _each(value, "{mean} ({low} to {high})")


def sentence(value: Interval | Sequence[Interval]) -> str:
    """`0.56, 95 % interval 0.53 to 0.59`; for the contrasts of an ordering, each in turn."""
    return _each(value, "{mean}, 95 % interval {low} to {high}")


def _each(value: Interval | Sequence[Interval], form: str) -> str:
    if not isinstance(value, Interval):
        return "; ".join(_each(one, form) for one in value)
    if math.isnan(value.mean):
        return "no value"
    if value.n < 2:
        return f"{number(value.mean)} (one value)"
    if value.low == value.high:
        return f"{number(value.mean)} (the same in all {value.n} values)"
    places = decimals(value)
    mean, low, high = (_fixed(one, places) for one in (value.mean, value.low, value.high))
    if low == mean == high:  # an interval whose ends no reader could tell apart
        return f"{mean} (the same in all {value.n} values to {_MOST_DECIMALS} decimals)"
    return form.format(mean=mean, low=low, high=high)


def decimals(value: Interval) -> int | None:
    """The number of decimals that tell the ends of an interval from its mean; None where only powers of ten do."""
    ends = [abs(value.mean - end) for end in (value.low, value.high) if math.isfinite(end) and end != value.mean]
    if not ends:
        return 2
    exponent = math.floor(math.log10(min(ends)))
    leading = min(ends) / 10.0**exponent
    places = max(0, -exponent + (leading < 3))  # one digit of the half-width, two of a small one
    return None if places > _MOST_DECIMALS else places


def _fixed(value: float, places: int | None) -> str:
    if math.isinf(value):
        return "no limit"
    if places is None:
        return f"{value:.2g}"
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def number(value: float | None) -> str:
    """A number on its own, with three digits; nothing where there is none."""
    if value is None or math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def criterion(claim: Claim) -> str:
    """The range that must contain the whole interval for the claim to replicate."""
    if claim.not_comparable:
        return ""
    if claim.band:
        low, high = claim.band
        return f"exactly {low:g}" if low == high else f"{low:g} to {high:g}"
    sign = -1.0 if claim.side == "below" else 1.0
    edge = f"{claim.side} {claim.null_value + sign * claim.smallest_effect:g}"
    return f"each {edge}" if claim.kind == "ordering" else edge


def needed(claim: Claim) -> str:
    """Where the whole interval must lie for the claim to replicate, as it follows a number: `must lie below 0.95`."""
    if claim.not_comparable:
        return ""
    if claim.band:
        low, high = claim.band
        return f"must be {criterion(claim)}" if low == high else f"must lie between {low:g} and {high:g}"
    return f"{'each ' if claim.kind == 'ordering' else ''}must lie {criterion(claim).removeprefix('each ')}"


def rule(claim: Claim) -> str:
    """The whole rule that decides a claim, with its thresholds: when it holds, and when it holds in part."""
    if claim.not_comparable:
        return ""
    of = rules.target(claim)
    null = f"the null value {of.null:g}"
    if claim.band:
        within = criterion(claim) if of.low == of.high else f"within {criterion(claim)}"
        if not of.side:
            return f"holds if the whole interval is {within}, around {null}; never partly"
        side = "above" if of.side > 0 else "below"
        words = f"holds if the whole interval is {within}, partly if it is wholly outside but {side} {null}"
        return words + ("; outside means that one more run of ours would be too" if claim.one_run else "")
    several = claim.kind == "ordering"
    holds = f"holds if {'every' if several else 'the whole'} interval is {'wholly ' if several else ''}{claim.side}"
    if not claim.smallest_effect:
        return f"{holds} {null}"
    edge = of.low if of.side > 0 else of.high
    if several:
        return f"{holds} {edge:g}, partly if every one is {claim.side} {null} but one falls wholly short of {edge:g}"
    return f"{holds} {edge:g}, partly if it is wholly between {edge:g} and {null}"


def one_more(claim: Claim, value: Interval | Sequence[Interval]) -> str:
    """Where one more run of ours would fall, and whether the number of the paper does; empty without runs or a number."""
    if not isinstance(value, Interval) or claim.paper_value is None or claim.timing:
        return ""
    if len(value.values) != value.n or not levels.usable(value) or value.low == value.high:
        return ""
    wide = levels.prediction(value)
    places = decimals(value)
    inside = wide.low <= claim.paper_value <= wide.high
    return (
        f"one more run would fall within {_fixed(wide.low, places)} to {_fixed(wide.high, places)} (95 %), "
        f"where the paper's {claim.paper_value:g} does{'' if inside else ' not'} lie"
    )


def paper(claim: Claim) -> str:
    """The number that the paper reports and its precision; empty where it gives neither."""
    value = "" if claim.paper_value is None else f"{claim.paper_value:g}"
    precision = claim.precision.strip()
    return f"{value} ({precision})" if value and precision else value or precision


def staleness(changed: Sequence[str]) -> str:
    """The changes since a result was made, in a few words; empty if there are none."""
    if len(changed) > 3:
        return f"{len(changed)} of the things it depends on changed"
    return f"{', '.join(changed)} changed" if changed else ""
