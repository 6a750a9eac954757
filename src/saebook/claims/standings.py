"""Where each claim stands: the ledger's rows joined with the recorded results of the largest tier that can judge them."""

from collections.abc import Sequence
from dataclasses import dataclass

from saebook.claims import ledger, results
from saebook.claims.ledger import Claim, Verdict
from saebook.evaluation.intervals import Interval


@dataclass(frozen=True)
class Standing:
    """One line of the ledger: a claim, its verdict (or why there is none), and the result that it rests on."""

    claim: Claim
    verdict: str
    live: Interval | Sequence[Interval] | None = None
    result: dict | None = None
    stale: tuple[str, ...] = ()


def standings() -> list[Standing]:
    """Every claim of the ledger, in its order."""
    return [standing(claim) for claim in ledger.load()]


def standing(claim: Claim) -> Standing:
    """Where one claim stands. A larger tier speaks before a smaller one; nothing is judged below the claim's own tier."""
    if claim.not_comparable:
        return Standing(claim, Verdict.NOT_COMPARABLE.value)
    for tier in reversed(ledger.TIERS[ledger.TIERS.index(claim.tier) :]):
        result = results.read(claim.notebook, tier)
        if result and claim.key in result["live"]:
            live = results.live(result, claim.key)
            return Standing(claim, judged(claim, live, tier), live, result, tuple(results.stale(result)))
    return Standing(claim, ledger.NOT_RUN)


def judged(claim: Claim, live: Interval | Sequence[Interval], tier: str) -> str:
    """The verdict of a claim at a tier, in words."""
    if ledger.TIERS.index(tier) < ledger.TIERS.index(claim.tier):
        return ledger.NOT_JUDGED
    return ledger.verdict(claim, live).value


def shown(live: Interval | Sequence[Interval]) -> str:
    """An interval as text; those of an ordering in their order."""
    if not isinstance(live, Interval):
        return "; ".join(map(shown, live))
    if live.mean != live.mean:
        return "no value"
    if live.n < 2:
        return f"{live.mean:.3g} (one value)"
    return f"{live.mean:.3g} ({live.low:.3g} to {live.high:.3g})"


def counts(rows: Sequence[Standing]) -> dict[str, dict[str, int]]:
    """How many claims of each paper have each verdict, with every verdict named."""
    words = [*(v.value for v in Verdict), ledger.NOT_RUN]
    return {
        paper: {word: sum(r.verdict == word for r in rows if r.claim.paper == paper) for word in words}
        for paper in ledger.PAPERS
    }
