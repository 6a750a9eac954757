"""Run a chapter on twice the tokens, everything else as in the tier, and say which of its verdicts stay the same."""

from dataclasses import dataclass
from typing import Any

from saebook.book import budgets
from saebook.book.running import runner
from saebook.claims import ledger, results, standings, twice
from saebook.claims.ledger import Claim
from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.common.limits import Budget
from saebook.common.names import TIERS


@dataclass(frozen=True)
class Outcome:
    """How the run of a chapter ended; `lines` say how each claim stands after it, or what went wrong."""

    name: str
    ok: bool
    lines: tuple[str, ...]


def applies(name: str, budget: Budget) -> bool:
    """Whether chapter `name` trains something and, at the budget's tier, judges a claim by it."""
    return bool(twice.change(budget.plain())) and any(_judges(claim, budget.tier) for claim in ledger.judged_by(name))


def _judges(claim: Claim, tier: str) -> bool:
    return not claim.timing and TIERS.index(claim.tier) <= TIERS.index(tier)


def wanted(tier: str) -> list[str]:
    """The chapters whose run on twice the tokens is missing or stale at `tier`."""
    own = {name: budgets.resolve(name, tier) for name in sidecar.names_at(tier)}
    return [n for n, budget in own.items() if applies(n, budget) and twice.state(n, budget)[0] != twice.FRESH]


def converge(name: str, tier: str) -> Outcome:
    """Run chapter `name` on twice the tokens of `tier` and compare its verdicts with those of the tier's own run.

    Raises `UserError` in one line, before anything runs, for a chapter that trains nothing or judges no claim at
    the tier.
    """
    budget = budgets.resolve(name, tier)
    if not applies(name, budget):
        why = f"judges no claim by a run at tier {tier}" if twice.change(budget.plain()) else "trains nothing"
        raise UserError(f"{name} {why}: convergence is not applicable to it")
    kept, page = runner.run(name, tier, dict(twice.change(budget.plain())))
    if kept.status != "ok":
        return Outcome(name, False, (f"{kept.status}: {kept.error} (see {page})",))
    longer, shorter = twice.live(name, budget), _own(name, tier)
    if longer is None:
        raise UserError(f"{name} wrote no result: it has to end with page.close")
    if shorter is None or not twice.belongs(longer, shorter):
        return Outcome(name, True, (f"run `saebook run {name} --tier {tier}` too, to compare with",))
    return Outcome(name, True, tuple(standings.convergence(name, shorter, longer)))


def _own(name: str, tier: str) -> dict[str, Any] | None:
    """The tier's own result: this copy's, or else the recorded one."""
    return results.read(name, tier, "live") or results.read(name, tier)
