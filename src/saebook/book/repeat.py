"""Run a chapter again with one thing changed (`claims.reruns`), and say how its claims stand after it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saebook.book import budgets
from saebook.book.running import runner
from saebook.book.site.claim_tables import HEADLINES
from saebook.claims import ledger, results, standings
from saebook.claims.ledger import Claim
from saebook.claims.reruns import controls, kinds
from saebook.claims.reruns.kinds import Rerun
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


def applies(rerun: Rerun, name: str, budget: Budget) -> bool:
    """Whether chapter `name` has what the rerun changes and, at the budget's tier, judges a claim by it."""
    return bool(rerun.change(name, budget.plain())) and any(_judges(one, budget.tier) for one in ledger.judged_by(name))


def _judges(claim: Claim, tier: str) -> bool:
    return not claim.timing and TIERS.index(claim.tier) <= TIERS.index(tier)


def wanted(rerun: Rerun, tier: str) -> list[str]:
    """The chapters whose rerun is missing or stale at `tier`; of a control, those that judge a headline claim."""
    own = {name: budgets.resolve(name, tier) for name in sidecar.names_at(tier) if not rerun.control or _headline(name)}
    return [n for n, one in own.items() if applies(rerun, n, one) and rerun.state(n, one)[0] != kinds.FRESH]


def _headline(name: str) -> bool:
    """Whether a chapter judges one of the claims that the papers are read for first."""
    return any(claim.id in ids for claim in ledger.judged_by(name) for ids in HEADLINES.values())


def repeat(rerun: Rerun, name: str, tier: str) -> Outcome:
    """Run chapter `name` as at `tier` but for what the rerun changes, and set its claims beside those of the tier's own run.

    Raises `UserError` in one line, before anything runs, for a chapter that the rerun does not apply to.
    """
    budget = budgets.resolve(name, tier)
    changed, place = rerun.budget(name, budget), rerun.live_file(name, budget)
    if changed is None or place is None or not applies(rerun, name, budget):
        why = f"judges no claim by a run at tier {tier}" if changed else rerun.lacks
        raise UserError(f"{name} {why}: a run on {rerun.words} is not applicable to it")
    if rerun.control and (why := _incomparable(name, changed)):
        results.together({place: results.as_json(controls.without_numbers(name, changed, why))})
        return Outcome(name, True, (f"undefined: {why}",))
    kept, page = runner.run(name, tier, rerun.change(name, budget.plain()))
    if rerun.control and kept.status == "failed" and controls.no_numbers(kept.error):
        results.together({place: results.as_json(controls.without_numbers(name, changed, str(kept.error)))})
        return Outcome(name, True, (f"undefined: {kept.error} (see {page})",))
    if kept.status != "ok":
        return Outcome(name, False, (f"{kept.status}: {kept.error} (see {page})",))
    if rerun.control and any(claim.of_loss for claim in ledger.judged_by(name)):
        _keep_cost(name, changed, place)
    other, own = rerun.live(name, budget), _own(name, tier)
    if other is None:
        raise UserError(f"{name} wrote no result: it has to end with page.close")
    if own is None or not rerun.belongs(other, own):
        return Outcome(name, True, (f"run `saebook run {name} --tier {tier}` too, to compare with",))
    return Outcome(name, True, tuple(standings.compared(rerun, name, own, other)))


def _incomparable(name: str, budget: Budget) -> str:
    """Why none of a chapter's claims can be judged on a control, known before hours of training; empty where one may be."""
    judged = [claim for claim in ledger.judged_by(name) if _judges(claim, budget.tier)]
    return controls.incomparable(least_cost(name, budget)) if all(claim.of_loss for claim in judged) else ""


def _keep_cost(name: str, budget: Budget, place: Path) -> None:
    """Add to the result of a control what ablating a site costs its subject, by which claims about losses are defined."""
    if place.is_file():
        content = results.checked(place) | {controls.COST: least_cost(name, budget)}
        results.together({place: results.as_json(content)})


def least_cost(name: str, budget: Budget) -> float:
    """What zero ablation costs the budget's subject, in nats a token: the least over the sites that chapter `name` looks at."""
    from saebook.book.chapter import Chapter  # with PyTorch, which the other functions do without
    from saebook.evaluation.denominator import zero_ablation_cost

    page = Chapter(name, budget)
    rows, skip = page.validation_rows(), page.data.skip
    return min(zero_ablation_cost(page.subject, site, rows, skip) for site in page.sites)


def _own(name: str, tier: str) -> dict[str, Any] | None:
    """The tier's own result: this copy's, or else the recorded one."""
    return results.read(name, tier, "live") or results.read(name, tier)
