"""The rules by which intervals judge claims, one by one and as a family. Code and pages read the same table of rules.

Every claim names a range of values, and what the null value is. An interval can lie wholly inside the range, wholly outside
it, or neither, which decides whether the claim holds, fails, or stays open. *Partly* is a kind of failure: the size is
refuted while the direction is established. An interval that holds the claimed size and smaller ones leaves the size open.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saebook.claims import levels
from saebook.claims.ledger import Claim, Verdict
from saebook.evaluation.intervals import Interval

Value = Interval | Sequence[Interval]


@dataclass(frozen=True)
class Target:
    """What a claim says of its quantity: the range from `low` to `high`, on the `side` (1 or -1) of the `null` value.

    `side` is 0 where the null value lies in the range, because no difference is what is claimed: such a claim has no
    direction that could hold without its size.
    """

    low: float
    high: float
    null: float
    side: int


@dataclass(frozen=True)
class Reading:
    """What intervals say of a target: wholly `inside` its range, wholly `outside`, wholly `beyond` the null value on its side."""

    inside: bool
    outside: bool
    beyond: bool


@dataclass(frozen=True)
class Rule:
    """A verdict, what it `means` of the interval, and the condition under which it is given."""

    verdict: Verdict
    means: str
    given: Callable[[Reading], bool]


RULES = (  # the first whose condition holds
    Rule(Verdict.REPLICATES, "lies wholly in the range that the claim names", lambda of: of.inside),
    Rule(
        Verdict.PARTLY,
        "lies wholly outside that range, but also wholly on the claimed side of the null value: the direction is right, the "
        "claimed size is excluded",
        lambda of: of.outside and of.beyond,
    ),
    Rule(
        Verdict.DOES_NOT,
        "lies wholly outside that range, and the direction is not established either",
        lambda of: of.outside,
    ),
    Rule(
        Verdict.UNDERPOWERED,
        "reaches into that range and out of it, so that the claim stays open, if only its size; a single seed always is",
        lambda of: True,
    ),
)
NOT_COMPARABLE = "cannot be had: a machine cannot check the claim, or not at this size"
SIZE_OPEN = "the direction is certain, the size is open"


def meanings() -> str:
    """The verdicts and what each says of the interval, as Markdown."""
    rows = [(rule.verdict, rule.means) for rule in RULES] + [(Verdict.NOT_COMPARABLE, NOT_COMPARABLE)]
    return "\n".join(
        ["| verdict | the interval |", "|---|---|", *(f"| *{name}* | {text} |" for name, text in rows), ""]
    )


def target(claim: Claim) -> Target:
    """The range that a claim names: its band, or all that lies on its side of the null value by the smallest effect."""
    if claim.band:
        low, high = claim.band
        side = 0 if low <= claim.null_value <= high else 1 if low > claim.null_value else -1
        return Target(low, high, claim.null_value, side)
    if claim.side == "above":
        return Target(claim.null_value + claim.smallest_effect, math.inf, claim.null_value, 1)
    return Target(-math.inf, claim.null_value - claim.smallest_effect, claim.null_value, -1)


def reading(claim: Claim, live: Value) -> Reading:
    """What the intervals say of a claim. An ordering holds when all its contrasts do, and fails when one of them does.

    Raises `TypeError` for one interval where several are needed, or several for one.
    """
    if (claim.kind == "ordering") is isinstance(live, Interval):
        raise TypeError(f"{claim.id}: an ordering takes several intervals, every other claim takes one")
    each = [_reading(claim, one) for one in _contrasts(live)]
    return Reading(
        bool(each) and all(one.inside for one in each),
        any(one.outside for one in each),
        bool(each) and all(one.beyond for one in each),
    )


def _contrasts(live: Value) -> Sequence[Interval]:
    return [live] if isinstance(live, Interval) else live


def _reading(claim: Claim, live: Interval) -> Reading:
    if not levels.usable(live):
        return Reading(False, False, False)
    of = target(claim)
    beyond = bool(of.side) and (live.low > of.null if of.side > 0 else live.high < of.null)
    # Of a direction without a smallest effect the null value ends the range, and does not belong to it.
    contrary = not claim.band and (live.high <= of.null if of.side > 0 else live.low >= of.null)
    # The paper's number is one run: to miss it, the interval in which one more of ours would fall has to.
    wide = levels.prediction(live) if claim.one_run else live
    outside = wide.high < of.low or wide.low > of.high or contrary
    return Reading(of.low <= live.low and live.high <= of.high and (beyond or not of.side), outside, beyond)


def verdict(claim: Claim, live: Value) -> Verdict:
    """The verdict of the interval on the claim; of an ordering's contrasts, made at a joint level (`intervals.joint_level`).

    One seed, or none, is always *underpowered*. Raises `TypeError` for one interval where several are needed.
    """
    if claim.not_comparable:
        return Verdict.NOT_COMPARABLE
    of = reading(claim, live)
    return next(rule.verdict for rule in RULES if rule.given(of))


def still_open(claim: Claim, live: Value) -> str:
    """What an *underpowered* verdict leaves open, where that is the size alone; else nothing."""
    of = reading(claim, live)
    return SIZE_OPEN if of.beyond and not of.inside and not of.outside else ""


def p_value(claim: Claim, live: Value) -> float:
    """The smallest alpha whose 1 - alpha intervals decide the claim, for or against it (see `levels` for their form).

    A claim holds when all contrasts do, so the largest p-value counts; it fails when one does, so the smallest does.
    """
    each = _contrasts(live)
    ends = [_decided_at(claim, one, len(each)) for one in each]
    failing = [p for p, holds in ends if not holds]
    return min(failing) if failing else max((p for p, _ in ends), default=1.0)


def _decided_at(claim: Claim, live: Interval, contrasts: int) -> tuple[float, bool]:
    """The p-value of one contrast, and whether its mean lies where the claim says."""
    if not levels.usable(live):
        return 1.0, True
    of, form = target(claim), levels.spread(live)
    low, high = form.place(of.low), form.place(of.high)
    holds = low <= form.mean <= high
    if holds:
        steps = min(_steps(form.mean - low, form.below), _steps(high - form.mean, form.above))
    elif form.mean < low:
        steps = _steps(low - form.mean, form.above)
    else:
        steps = _steps(form.mean - high, form.below)
    if claim.one_run and not holds:
        steps /= math.sqrt(live.n + 1)
    return levels.p_value(live.n, steps * levels.quantile(live.n, levels.LEVEL, contrasts), contrasts), holds


def _steps(distance: float, width: float) -> float:
    """A distance in half-widths; a width that is unlimited reaches anything, and one of zero reaches nothing."""
    if math.isinf(width):
        return 0.0
    return distance / width if width else math.inf


def corrected(family: Sequence[tuple[Claim, Value]], level: float = levels.LEVEL) -> list[Verdict]:
    """The verdicts on a family of claims that hold together with `level` (Holm), in the order of the family.

    Of m claims the one with the smallest p-value is judged by its interval at 1 - alpha / m, the next at 1 - alpha / (m - 1),
    and so on; from the first that this leaves open, all are. A claim decided rightly leaves its share of alpha to the
    others. That this also bounds verdicts in the wrong direction is proved for independent quantities (Shaffer, 1980).
    """
    order = sorted(range(len(family)), key=lambda i: p_value(*family[i]))
    verdicts, left = [Verdict.UNDERPOWERED] * len(family), len(family)
    for i in order:
        claim, live = family[i]
        each = [levels.at_level(one, 1 - (1 - level) / left, len(_contrasts(live))) for one in _contrasts(live)]
        verdicts[i] = verdict(claim, each[0] if isinstance(live, Interval) else each)
        if verdicts[i] is Verdict.UNDERPOWERED:
            break
        left -= 1
    return verdicts
