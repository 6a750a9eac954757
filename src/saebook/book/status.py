"""How each chapter stands at a tier: fresh, stale, failed or never run, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from saebook.book import budgets, repeat
from saebook.book.running import runner
from saebook.book.running.runner import RunRecord
from saebook.claims import provenance, results
from saebook.claims.reruns import kinds
from saebook.claims.reruns.kinds import RERUNS, Rerun
from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.common.limits import Budget

FRESH, STALE, FAILED, NEVER = "fresh", "stale", "failed", "never run"
_NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class State:
    """One chapter (`paper/name`) at one tier.

    `file` is the executed notebook to show, if this copy holds one: the last good run, else the failed one. `record` is of
    the last run: after a failure it is not that of `file` when an earlier run was good (`earlier`).
    `reruns` says how its runs on twice the tokens and on random weights stand (`saebook converge`, `saebook control`), by
    their words; empty at the smoke tier and where there is no budget.
    """

    name: str
    tier: str
    word: str
    why: str
    seconds: float | None
    file: Path | None = None
    record: RunRecord | None = None
    earlier: bool = False
    reruns: Mapping[str, str] = field(default_factory=dict)

    @property
    def page(self) -> bool:
        """Whether this copy holds an executed notebook of the chapter."""
        return self.file is not None


def states(tier: str) -> list[State]:
    """Every chapter that has a budget at `tier`, in the order of the book."""
    return [state(name, tier) for name in sidecar.names_at(tier)]


def state(name: str, tier: str) -> State:
    """How chapter `name` stands: by its executed notebook where there is one, else by its recorded result.

    A chapter whose own files cannot be read has failed; the others go on.
    """
    try:
        return replace(_state(name, tier), reruns=_reruns(name, tier))
    except UserError as error:
        return State(name, tier, FAILED, str(error), None)


def _state(name: str, tier: str) -> State:
    if tier not in sidecar.load(name).tiers():
        return State(name, tier, NEVER, f"tier {tier} has no budget for it", None)
    page, broken = runner.executed(name, tier), runner.failed(name, tier)
    good, bad = runner.record(page), runner.record(broken)
    if bad:
        shown = page if good else broken
        return State(name, tier, FAILED, f"{bad.status}: {bad.error}", bad.seconds, shown, bad, good is not None)
    if good is None:
        return _by_result(name, tier, page.is_file())
    moved = provenance.changed(good.hashes, page_hashes(name, tier), page=True)
    return State(name, tier, STALE if moved else FRESH, _because(moved), good.seconds, page, good)


def _reruns(name: str, tier: str) -> dict[str, str]:
    """How each rerun stands, in words."""
    if tier == "smoke" or tier not in sidecar.load(name).tiers():
        return {}
    budget = budgets.resolve(name, tier)
    return {rerun.words: _rerun(rerun, name, budget) for rerun in RERUNS}


def _rerun(rerun: Rerun, name: str, budget: Budget) -> str:
    if not repeat.applies(rerun, name, budget):
        return _NOT_APPLICABLE
    try:
        word, moved = rerun.state(name, budget)
        undefined = rerun.undefined(name, budget)
    except UserError as error:  # the run that mends it must not wait for it
        return f"{kinds.MISSING} ({error})"
    words = f"{word} ({_because(moved)})" if moved else word
    return f"{words}, undefined: {undefined}" if undefined else words


def page_hashes(name: str, tier: str) -> dict[str, str]:
    """What an executed notebook is compared with: the provenance of a run with the tier's own budget."""
    return provenance.parts(name, budgets.resolve(name, tier))


def _by_result(name: str, tier: str, damaged: bool) -> State:
    try:
        result = results.read(name, tier)
    except UserError as error:  # the run that mends it must not wait for it
        return State(name, tier, NEVER, str(error), None)
    why = "its executed notebook is damaged" if damaged else ""
    if result is None:
        return State(name, tier, NEVER, why, None)
    moved = results.stale(result, budgets.resolve(name, tier))
    made = f"recorded {result['date']} on {result['device']}"
    words = "; ".join(part for part in (_because(moved), why, made) if part)
    return State(name, tier, STALE if moved else FRESH, words, result["seconds"])


def _because(moved: list[str]) -> str:
    return f"changed since: {', '.join(moved)}" if moved else ""
