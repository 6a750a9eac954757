"""The standing of each claim: its verdict by the recorded results, and the verdict of this copy's own run."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from saebook.claims import ledger, results, rules, wording
from saebook.claims.grades import Grade, grade
from saebook.claims.ledger import Claim, Verdict
from saebook.claims.reruns import controls, kinds
from saebook.claims.reruns.controls import Control
from saebook.claims.reruns.kinds import RANDOM, TWICE, Rerun
from saebook.claims.rules import Value
from saebook.common.errors import UserError
from saebook.common.limits import Budget
from saebook.common.names import PAPERS, TIERS
from saebook.evaluation.intervals import Interval, t_interval

MEASUREMENTS = 3  # of a time, before it judges anything

_VERDICTS = {verdict.value for verdict in Verdict}
BudgetOf = Callable[[str, str], Budget]
Staleness = Callable[[dict[str, Any]], tuple[str, ...]]


class Converged(StrEnum):
    """Whether twice the tokens give the same verdict."""

    YES = "yes"
    NO = "no"
    NOT_MEASURED = "not measured"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Judgement:
    """A claim judged by one result. `stale` names what has changed since that was made."""

    tier: str
    verdict: str
    value: Value
    result: dict[str, Any]
    stale: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """One line of the ledger: a claim, its verdict (or why there is none), and what that rests on.

    `recorded` is the judgement by the recorded results, which is no verdict at a tier below the claim's own; `own` the one by
    this copy's run at the tier that is built; `longer` the one by the recorded run on twice the tokens. `control` says what
    the recorded run on random weights shows, None without a recorded verdict. `corrected` is the verdict as one of a
    `family` of so many claims of the same paper, judged at the same tier and correct together at the 95 % level; empty
    without a recorded verdict.
    """

    claim: Claim
    verdict: str
    recorded: Judgement | None = None
    own: Judgement | None = None
    longer: Judgement | None = None
    control: Control | None = None
    corrected: str = ""
    family: int = 0

    @property
    def live(self) -> Value | None:
        return self.recorded.value if self.recorded else None

    @property
    def result(self) -> dict[str, Any] | None:
        return self.recorded.result if self.recorded else None

    @property
    def stale(self) -> tuple[str, ...]:
        return self.recorded.stale if self.recorded else ()

    @property
    def grade(self) -> Grade | None:
        """What the recorded verdict rests on, None without one."""
        return grade(self.claim, self.recorded.result) if self.recorded and is_verdict(self.recorded) else None

    @property
    def converged(self) -> Converged | None:
        """Whether the recorded verdict is the same with twice the tokens, None without a verdict."""
        if not self.recorded or not is_verdict(self.recorded):
            return None
        return _converged(self.claim, self.recorded, self.longer)


def staleness(budget_of: BudgetOf) -> Staleness:
    """A function that names what has changed since a result was made; it remembers what it has compared."""
    known: dict[tuple, tuple[str, ...]] = {}

    def stale(result: dict[str, Any]) -> tuple[str, ...]:
        key = (result["notebook"], result["tier"], str(result.get("hashes")))
        if key not in known:
            known[key] = _stale(result, budget_of)
        return known[key]

    return stale


def standings(budget_of: BudgetOf, tier: str | None = None, stale: Staleness | None = None) -> list[Standing]:
    """Every claim of the ledger, in its order. `budget_of(name, tier)` gives a tier's own budget; `tier` is being built."""
    stale = stale or staleness(budget_of)
    return _corrected([standing(claim, stale, tier) for claim in ledger.load()])


def is_verdict(judgement: Judgement) -> bool:
    """Whether a judgement is a verdict, rather than a reason why there is none."""
    return judgement.verdict in _VERDICTS


def _corrected(rows: Sequence[Standing]) -> list[Standing]:
    """The rows, each with its verdict as one of its family: all claims of a paper that one tier's results judge."""
    families: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        if row.recorded and is_verdict(row.recorded):
            families.setdefault((row.claim.paper, row.recorded.tier), []).append(i)
    done = list(rows)
    for family in families.values():
        judged_rows = [(rows[i].claim, recorded.value) for i in family if (recorded := rows[i].recorded)]
        for i, verdict in zip(family, rules.corrected(judged_rows), strict=True):
            done[i] = replace(rows[i], corrected=verdict.value, family=len(family))
    return done


def standing(claim: Claim, stale: Staleness = lambda result: (), tier: str | None = None) -> Standing:
    """The standing of one claim. A larger tier takes precedence; one below the claim's own shows its number without a verdict."""
    if claim.not_comparable:
        return Standing(claim, Verdict.NOT_COMPARABLE.value)
    own = None
    if tier and (result := results.read(claim.notebook, tier, "live")):
        own = judgement(claim, result, tier, stale(result), live=True)
    for larger in reversed(TIERS[1:]):  # a smoke run shows nothing
        result = results.read(claim.notebook, larger)
        if result and (recorded := judgement(claim, result, larger, stale(result))):
            twofold = TWICE.compared_with(result)
            longer = judgement(claim, twofold, larger, stale(twofold)) if twofold else None
            there = _control(claim, result, RANDOM.compared_with(result), stale) if is_verdict(recorded) else None
            return Standing(claim, recorded.verdict, recorded, own, longer, there)
    return Standing(claim, ledger.NOT_RUN, None, own)


def _stale(result: dict[str, Any], budget_of: BudgetOf) -> tuple[str, ...]:
    try:
        return tuple(kinds.stale(result, budget_of(result["notebook"], result["tier"])))
    except UserError:  # the chapter has no budget at this tier any more, or no readable notebook
        return ("notebook",)


def judgement(
    claim: Claim, result: dict[str, Any], tier: str, stale: tuple[str, ...] = (), live: bool = False
) -> Judgement | None:
    """A claim judged by a result, recorded or `live`; None when the result does not hold its quantity."""
    if claim.live not in result.get("live", {}):
        return None
    value = results.live(result, claim.live)
    if not claim.timing or live:
        return Judgement(tier, judged(claim, value, tier), value, result, stale)
    repeated = t_interval(timings(result).get(claim.live, []))
    return Judgement(tier, _repeated(claim, repeated, tier), repeated, result, stale)


def compared(rerun: Rerun, name: str, own: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """How the claims that chapter `name` judges stand by its `own` result and that of a rerun, one line each."""
    for claim in ledger.judged_by(name):
        before = judgement(claim, own, own["tier"])
        if before and (line := _COMPARED[rerun.name](claim, before, other)):
            yield f"{claim.id}: {line}"


def _beside_longer(claim: Claim, before: Judgement, other: dict[str, Any]) -> str:
    after = judgement(claim, other, other["tier"])
    word = _converged(claim, before, after)
    if word is Converged.NOT_APPLICABLE:
        return ""
    return f"converged: {word}" + (f" ({before.verdict} -> {after.verdict})" if after and word is Converged.NO else "")


def _beside_control(claim: Claim, before: Judgement, other: dict[str, Any]) -> str:
    there = _control(claim, before.result, other)
    if there.verdict == controls.Word.NOT_APPLICABLE or not is_verdict(before):
        return ""
    return f"{shown(before.value)}, {before.verdict}; {there}"


_COMPARED = {TWICE.name: _beside_longer, RANDOM.name: _beside_control}


def _control(
    claim: Claim, own: dict[str, Any], there: dict[str, Any] | None, stale: Staleness = lambda result: ()
) -> Control:
    judge = functools.partial(judged, claim, tier=own["tier"])
    return controls.control(claim, own, there, judge, stale(there) if there else ())


def _converged(claim: Claim, before: Judgement, after: Judgement | None) -> Converged:
    published = grade(claim, before.result) is Grade.PUBLISHED  # whatever else its chapter trains
    if claim.timing or published or not TWICE.change(claim.notebook, before.result["parameters"]):
        return Converged.NOT_APPLICABLE
    if after is None or not is_verdict(before) or not is_verdict(after):
        return Converged.NOT_MEASURED
    return Converged.YES if before.verdict == after.verdict else Converged.NO


def timings(result: dict[str, Any]) -> dict[str, list[float]]:
    """Every recorded measurement of the times in a result; one that was recorded before they were kept counts as one."""
    kept = result.get("timings", {})
    means = {key: one["mean"] for key, one in result.get("live", {}).items() if isinstance(one, dict)}
    return {key: kept.get(key, [mean]) for key, mean in means.items() if mean is not None}


def judged(claim: Claim, live: Value, tier: str) -> str:
    """The verdict of a claim by one run at a tier, in words. A time is reported: one run judges none."""
    if TIERS.index(tier) < TIERS.index(claim.tier):
        return ledger.NOT_JUDGED
    return ledger.REPORTED if claim.timing else rules.verdict(claim, live).value


def _repeated(claim: Claim, measurements: Interval, tier: str) -> str:
    if TIERS.index(tier) < TIERS.index(claim.tier):
        return ledger.NOT_JUDGED
    return rules.verdict(claim, measurements).value if measurements.n >= MEASUREMENTS else ledger.REPORTED


def shown(live: Value) -> str:
    """An interval as text; those of an ordering in their order."""
    return wording.interval(live)


def counts(rows: Sequence[Standing]) -> dict[str, dict[Grade | None, dict[str, int]]]:
    """Count the claims of each paper by what they rest on (None: nothing judges them yet) and by verdict, without zeros."""
    tallies = {paper: {grade: {} for grade in [*Grade, None]} for paper in PAPERS}
    for row in rows:
        tally = tallies[row.claim.paper][row.grade]
        tally[row.verdict] = tally.get(row.verdict, 0) + 1
    return {paper: {grade: tally for grade, tally in of_paper.items() if tally} for paper, of_paper in tallies.items()}
