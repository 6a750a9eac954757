"""Recording: this copy's live results become the committed ones, whole or not at all, and it is said what changed."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saebook.claims import ledger, results, standings
from saebook.claims.reruns import kinds
from saebook.claims.reruns.kinds import RERUNS, Rerun
from saebook.common.errors import UserError
from saebook.common.limits import Budget

_WHEN = ("date", "commit", "seconds", "peak_memory_mb", "trained_runs", "timings")  # change from run to run


@dataclass(frozen=True)
class Change:
    """The changes that recording one result makes: `lines` describe them, `content` is to be written (None if unchanged)."""

    name: str
    lines: tuple[str, ...]
    content: dict[Path, bytes]


def record(tier: str, names: Sequence[str], budget_of: Callable[[str, str], Budget]) -> list[Change]:
    """Copy the live results of chapters `names` at `tier` to the recorded ones; returns what that changed.

    Live reruns (`claims.reruns`) are carried over too, alone where there is no live result of the tier's own.

    `budget_of(name, tier)` gives a tier's own budget. Everything is checked before anything is written: raises `UserError`
    for the smoke tier, and for a result that is missing, damaged, or was made with other parameters than the tier's.
    """
    if tier == "smoke":
        raise UserError("smoke results check the plumbing and are not recorded: give another --tier")
    changes = [change for name in names for change in _changes(name, tier, budget_of(name, tier))]
    for change in changes:
        if change.content:
            results.together(change.content)
    return changes


def live_names(tier: str, names: Sequence[str], budget_of: Callable[[str, str], Budget]) -> list[str]:
    """Those of `names` that have a live result at `tier`, of the tier's own run or of a rerun."""

    def has_rerun(name: str) -> bool:
        places = (rerun.live_file(name, budget_of(name, tier)) for rerun in RERUNS)
        return any(place is not None and place.is_file() for place in places)

    return [name for name in names if results.file(name, tier, "live").is_file() or has_rerun(name)]


def _changes(name: str, tier: str, budget: Budget) -> Iterator[Change]:
    again = [(rerun, new) for rerun in RERUNS if (new := rerun.live(name, budget)) is not None]
    if not again or results.file(name, tier, "live").is_file():
        yield _change(name, tier, budget)
    for rerun, new in again:
        yield _rerun(rerun, name, tier, budget, new)


def _rerun(rerun: Rerun, name: str, tier: str, budget: Budget, new: dict[str, Any]) -> Change:
    """Record the live result of a rerun: its JSON alone, for no page shows its points."""
    title, old = f"{name}, {rerun.words}", rerun.recorded(name, tier)
    undefined = new.get("undefined", "")
    if not undefined:
        _check_quantities(title, new)
    if old and _lasting(old) == _lasting(new):
        return Change(title, ("unchanged",), {})
    lines = ["recorded for the first time" if old is None else "recorded again"]
    own = results.read(name, tier, "live") or results.read(name, tier)
    if undefined:
        lines.append(f"undefined: {undefined}")
    elif own and rerun.belongs(new, own):
        lines += standings.compared(rerun, name, own, new)
    else:
        lines.append("no result of the tier's own to compare with")
    if moved := kinds.stale(new, budget):
        lines.append(f"already stale: {', '.join(moved)} changed since it was made")
    return Change(title, tuple(lines), {rerun.file(name, tier): results.as_json(kinds.unmarked(new))})


def _check_quantities(title: str, new: dict[str, Any]) -> None:
    missing = [claim.live for claim in ledger.judged_by(new["notebook"]) if claim.live not in new["live"]]
    if missing:
        raise UserError(f"the live result of {title} lacks {', '.join(missing)}: run it again")


def _change(name: str, tier: str, budget: Budget) -> Change:
    new = results.read(name, tier, "live")
    if new is None:
        raise UserError(f"{name} has no live result at tier {tier}: run `saebook run {name} --tier {tier}` first")
    if new["parameters"] != budget.plain():
        raise UserError(f"the live result of {name} has other parameters than tier {tier} has now: run it again")
    _check_quantities(name, new)
    source, target = results.file(name, tier, "live"), results.file(name, tier)
    old = results.read(name, tier)
    new["timings"] = _timings(name, old, new)
    content = {target.with_suffix(end): source.with_suffix(end).read_bytes() for end in _besides(source)}
    same = {place: place.is_file() and place.read_bytes() == data for place, data in content.items()}
    if old and all(same.values()) and _lasting(old) == _lasting(new) and old.get("timings", {}) == new["timings"]:
        return Change(name, ("unchanged",), {})
    lines = ["recorded for the first time"] if old is None else _lines(name, tier, old, new, same)
    if moved := results.stale(new, budget):
        lines.append(f"already stale: {', '.join(moved)} changed since it was made")
    return Change(name, tuple(lines), {**content, target: results.as_json(new)})


def _besides(source: Path) -> list[str]:
    """The files beside a live JSON that belong to it. Raises `UserError` when the points are missing."""
    if not source.with_suffix(".csv").is_file():
        raise UserError(f"the live result {source} has no CSV beside it: run its notebook again")
    return [end for end in (".csv", ".png") if source.with_suffix(end).is_file()]


def _lasting(result: dict[str, Any]) -> str:
    """The part of a result that decides equality: everything except its dates and times."""
    return json.dumps({key: value for key, value in result.items() if key not in _WHEN}, sort_keys=True)


def _same_circumstances(old: dict[str, Any], new: dict[str, Any]) -> bool:
    same = all(old.get(key) == new[key] for key in ("parameters", "device"))
    return same and old.get("hashes", {}).get("library") == new["hashes"]["library"]


def _timings(name: str, old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, list[float]]:
    """Every recorded measurement of a time, this run's last. Another machine, library or other parameters begin anew."""
    before: dict[str, list[float]] = {}
    if old is not None and _same_circumstances(old, new):
        before = standings.timings(old)
    kept = {}
    for claim in ledger.judged_by(name):
        if not claim.timing:
            continue
        mean = results.live(new, claim.live)
        if isinstance(mean, list):
            raise UserError(f"claim {claim.id} is of a time and has several contrasts: only one can be measured again")
        earlier = before.get(claim.live, [])
        kept[claim.live] = earlier if mean.mean in earlier else [*earlier, mean.mean]
    return kept


def _lines(name: str, tier: str, old: dict[str, Any], new: dict[str, Any], same: dict[Path, bool]) -> list[str]:
    """The differences between a recorded result and the one that replaces it, one line each."""
    (csv,) = (place for place in same if place.suffix == ".csv")
    lines = ["CSV equal" if same[csv] else "CSV differs"]
    for claim in ledger.judged_by(name):
        before, after = (standings.judgement(claim, result, tier) for result in (old, new))
        words = before.verdict if before else "not judged before"
        if after and after.verdict != words:
            lines.append(f"{claim.id}: {words} -> {after.verdict}")
    keys = sorted(key for key in new["live"] if old.get("live", {}).get(key) != new["live"][key])
    lines += [f"live quantities changed: {', '.join(keys)}"] if keys else []
    for key, values in new["timings"].items():
        lines.append(f"{key}: {len(values)} measurements recorded, a verdict needs {standings.MEASUREMENTS}")
    moved = [key for key, value in new["hashes"].items() if old.get("hashes", {}).get(key) != value]
    return lines + ([f"hashes changed: {', '.join(moved)}"] if moved else [])
