"""A chapter's run on twice the tokens, by which its verdicts are called converged or not.

Everything else is as in the tier's own budget. The live result is that of any run with parameters of its own, NAME@HASH
below `_build/results`; the recorded one is ``NAME.twice.json`` beside the result that it is compared with. A verdict is
*converged* when both runs give the same one.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any

from saebook.claims import provenance, results
from saebook.common.limits import Budget

FRESH, STALE, MISSING = "fresh", "stale", "never run"
_LENGTHS = ("tokens", "steps")  # the parameter that says how long a chapter trains
_MARK = "twice"  # in a result that was read from NAME.twice.json


class Converged(StrEnum):
    YES = "yes"
    NO = "no"
    NOT_MEASURED = "not measured"
    NOT_APPLICABLE = "not applicable"


def change(parameters: dict[str, Any]) -> dict[str, int]:
    """The parameter that makes a run twice as long, with its value: tokens, or steps. Empty where nothing is trained."""
    return next(({length: 2 * parameters[length]} for length in _LENGTHS if parameters.get(length)), {})


def doubled(name: str, budget: Budget) -> Budget | None:
    """The `budget` of chapter `name` with twice the tokens, None where nothing is trained.

    Raises `UserError` in one line when twice as many are more than a budget may have.
    """
    plain = budget.plain()
    asked = change(plain)
    return type(budget).checked(name, plain | asked) if asked else None


def file(name: str, tier: str) -> Path:
    """The recorded result of a chapter on twice the tokens."""
    return results.file(f"{name}.twice", tier)


def live_file(name: str, budget: Budget) -> Path | None:
    """Where this copy keeps its own, for a tier's own `budget`; None where nothing is trained."""
    longer = doubled(name, budget)
    if longer is None:
        return None
    return results.file(results.apart(name, provenance.parts(name, longer)), longer.tier, "live")


def recorded(name: str, tier: str) -> dict[str, Any] | None:
    """The recorded result on twice the tokens, None when there is none. Raises `UserError` when it is damaged."""
    return _read(file(name, tier), name, tier)


def live(name: str, budget: Budget) -> dict[str, Any] | None:
    """This copy's own, None when there is none. Raises `UserError` when it is damaged."""
    place = live_file(name, budget)
    return _read(place, name, budget.tier) if place else None


def compared_with(result: dict[str, Any]) -> dict[str, Any] | None:
    """The recorded run that is as `result` but on twice the tokens, None when there is none."""
    longer = recorded(result["notebook"], result["tier"])
    return longer if longer and belongs(longer, result) else None


def belongs(longer: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether `longer` differs from `result` in the length of training alone."""
    asked = change(result["parameters"])
    return bool(asked) and longer["parameters"] == result["parameters"] | asked


def stale(result: dict[str, Any], budget: Budget) -> list[str]:
    """As `results.stale`, for a result of either length; `budget` is the tier's own."""
    own = doubled(result["notebook"], budget) if result.get(_MARK) else budget
    return results.stale(result, own or budget)


def state(name: str, budget: Budget) -> tuple[str, list[str]]:
    """How the run on twice the tokens stands, by this copy's own or else the recorded one, and what has changed since."""
    result = live(name, budget) or recorded(name, budget.tier)
    if result is None:
        return MISSING, []
    moved = stale(result, budget)
    return (STALE if moved else FRESH), moved


def _read(place: Path, name: str, tier: str) -> dict[str, Any] | None:
    return results.checked(place) | {"notebook": name, "tier": tier, _MARK: True} if place.is_file() else None
