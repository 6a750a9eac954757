"""What a claim says on a control: the subject's architecture with random weights (`subject.random_weights`).

An effect that is as large there is a property of SAEs on any activations, not of what the model learned. On a model that
predicts nothing some quantities do not exist, and then it is said why, in place of a number.
"""

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from saebook.claims import provenance, results, wording
from saebook.claims.ledger import Claim
from saebook.claims.reruns.kinds import RANDOM
from saebook.claims.rules import Value
from saebook.common.limits import Budget
from saebook.evaluation.intervals import Interval

# The smallest cost of ablating a site, in nats a token, by which a change of loss can be divided: below it a thousandth of
# a nat moves loss recovered by more than a hundredth. The chapter on ablation costs calls smaller ones tiny.
LEAST_COST = 0.1
COST = "zero_ablation_cost"  # in the result of a control: nats a token, the least over the chapter's sites

# What a page raises whose quantities do not exist; what a machine refuses, or a mistake in the code, is none of these.
_NO_NUMBERS = (
    "ValueError", "ArithmeticError", "ZeroDivisionError", "OverflowError", "FloatingPointError", "LinAlgError", "IndexError",
    "KeyError", "AssertionError",
)  # fmt: skip
_DIVERGED = "is not finite at step"  # of training, at rates that were tuned on the trained subject


class Word(StrEnum):
    """Why there is no verdict on a control."""

    UNDEFINED = "undefined there"
    NOT_MEASURED = "not measured"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Control:
    """A claim on random weights: its verdict there, or a `Word` that says why there is none, with the reason `why`.

    `value` is there with a verdict only. `stale` names what has changed since the control was run.
    """

    verdict: str
    value: Value | None = None
    why: str = ""
    stale: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`on random weights: 0.97 (0.94 to 1.01), does not replicate`."""
        shown = f"{wording.interval(self.value)}, {self.verdict}" if self.value is not None else self.verdict
        return f"on {RANDOM.words}: {shown}" + (f" ({self.why})" if self.why else "")


def control(
    claim: Claim,
    own: dict[str, Any],
    there: dict[str, Any] | None,
    verdict: Callable[[Value], str],
    stale: tuple[str, ...] = (),
) -> Control:
    """What `claim` says by the result `there` of the control of the result `own`, `verdict` judging its quantity."""
    if claim.timing or not RANDOM.change(own["notebook"], own["parameters"]):
        return Control(Word.NOT_APPLICABLE)
    if there is None:
        return Control(Word.NOT_MEASURED)
    if why := there.get("undefined"):
        return Control(Word.UNDEFINED, None, why, stale)
    if claim.live not in there["live"]:
        return Control(Word.NOT_MEASURED)
    cost, value = there.get(COST), results.live(there, claim.live)
    if claim.of_loss and cost is None:
        return Control(Word.NOT_MEASURED, None, "what ablation costs there is missing: run `saebook control`", stale)
    if why := _undefined(claim, value, cost):
        return Control(Word.UNDEFINED, None, why, stale)
    return Control(verdict(value), value, "", stale)


def _undefined(claim: Claim, value: Value, cost: float | None) -> str:
    """Why a quantity does not exist, or means nothing; empty where it does."""
    if claim.of_loss and cost is not None and (why := incomparable(cost)):
        return why
    contrasts = [value] if isinstance(value, Interval) else value
    if not contrasts or any(not one.n or math.isnan(one.mean) for one in contrasts):
        return "no seed gives a value"
    return ""


def incomparable(cost: float) -> str:
    """Why losses cannot be compared where ablating a site costs so many nats a token; empty where they can."""
    if cost >= LEAST_COST:
        return ""
    return (
        f"ablation changes the loss by only {cost:.3f} nats a token there, too little to compare losses by; "
        f"at least {LEAST_COST:g} are needed"
    )


def no_numbers(error: str | None) -> bool:
    """Whether a page that ended in `error` (as `RunRecord.error`) lacked numbers, rather than memory or correct code."""
    first = (error or "").split(":")[0]
    return first in _NO_NUMBERS or _DIVERGED in (error or "")


def without_numbers(name: str, budget: Budget, error: str) -> dict[str, Any]:
    """The result of a control whose page raised `error`, so that it is not tried again before something has changed."""
    return {
        "notebook": name, "tier": budget.tier, "parameters": budget.plain(), "live": {}, "findings": {},
        "undefined": " ".join(error.split())[:300], "date": datetime.date.today().isoformat(),
        "hashes": provenance.parts(name, budget),
    }  # fmt: skip
