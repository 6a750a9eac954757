"""How each notebook stands at a tier: fresh, stale, failed or never run, and why."""

import json
from dataclasses import dataclass

from saebook.book import budgets, runner
from saebook.book.runner import RunRecord
from saebook.claims import provenance, results

FRESH, STALE, FAILED, NEVER = "fresh", "stale", "failed", "never run"


@dataclass(frozen=True)
class State:
    """One notebook (PAPER/NAME) at one tier. `page` says whether this copy holds an executed notebook of it."""

    name: str
    tier: str
    word: str
    why: str
    seconds: float | None
    page: bool
    record: RunRecord | None = None


def states(tier: str) -> list[State]:
    """Every notebook that has a budget at `tier`, in order."""
    return [state(name, tier) for name in runner.names() if name.replace("/", ".") in budgets.load(tier)]


def state(name: str, tier: str) -> State:
    """How notebook `name` (PAPER/NAME) stands: by its executed copy where there is one, else by its recorded result."""
    if name.replace("/", ".") not in budgets.load(tier):
        return State(name, tier, NEVER, f"tier {tier} has no budget for it", None, False)
    file = runner.executed(name, tier)
    kept = runner.record(file)
    if kept is None:
        return _by_result(name, tier)
    if kept.status != "ok":
        return State(name, tier, FAILED, f"{kept.status}: {kept.error}", kept.seconds, True, kept)
    before = json.loads(file.read_text("utf-8"))["metadata"]["replication"].get("seal")
    moved = provenance.changed(before, page_seal(name, tier), page=True)
    return State(name, tier, STALE if moved else FRESH, _because(moved), kept.seconds, True, kept)


def page_seal(name: str, tier: str) -> dict[str, str]:
    """What an executed notebook is compared with: the seal of a run with the tier's own budget."""
    dotted = name.replace("/", ".")
    return provenance.parts(dotted, budgets.resolve(dotted, tier))


def _by_result(name: str, tier: str) -> State:
    result = results.read(name.replace("/", "."), tier)
    if result is None:
        return State(name, tier, NEVER, "", None, False)
    moved = results.stale(result)
    made = f"recorded {result['date']} on {result['device']}"
    why = f"{_because(moved)}; {made}" if moved else made
    return State(name, tier, STALE if moved else FRESH, why, result["seconds"], False)


def _because(moved: list[str]) -> str:
    return f"changed since: {', '.join(moved)}" if moved else ""
