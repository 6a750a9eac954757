"""The end of a chapter, added when the book is built: this copy beside the recorded result, how to run it again, its cost."""

from collections.abc import Sequence
from typing import Any

from saebook.book import budgets
from saebook.book.site.figures import chosen
from saebook.book.site.result_box import without_blank_lines
from saebook.claims import ledger, results, wording
from saebook.claims.results import Where
from saebook.claims.standings import Staleness, Value
from saebook.common.errors import UserError
from saebook.common.templates import render
from saebook.evaluation.intervals import Interval

_EXAMPLES = {"layer": "2", "seeds": "5,6,7", "subject": "gpt2", "tokens": "200000"}  # for the command with parameters


def sections(name: str, tier: str, stale: Staleness) -> str:
    """The last sections of chapter `name` (`paper/name`) as Markdown, for a book built at `tier`."""
    tables = {
        "comparison": _html("comparison.html", **_comparison(name, tier)),
        "budget": _html("budget.html", values=_budget(name, tier)),
        "cost": _html("cost.html", results=[_cost(one, where, stale(one)) for one, where in _kept(name, tier)]),
    }
    parameters = [f for f in budgets.budget_class(name).model_fields if f in _EXAMPLES]
    example = " ".join(f"-p {field} {_EXAMPLES[field]}" for field in sorted(parameters, key=list(_EXAMPLES).index)[:2])
    return render(
        "saebook.book.site",
        "closing.md",
        name=name,
        tier=tier,
        example=example,
        files=_files(name, tier),
        takes_saes=budgets.takes_saes(name),
        **tables,
    )


def _html(template: str, **values: Any) -> str:
    return without_blank_lines(render("saebook.book.site", template, **values))


def _kept(name: str, tier: str) -> list[tuple[dict[str, Any], Where]]:
    """This copy's own result at `tier`, then the recorded ones from the smallest tier to the largest."""
    own = results.read(name, tier, "live")
    recorded = [result for one in chosen.RECORDED if (result := results.read(name, one))]
    return [*([(own, "live")] if own else []), *((result, "recorded") for result in recorded)]


def _comparison(name: str, tier: str) -> dict[str, Any]:
    """Each live quantity of this copy beside the recorded one: of the same tier, or else of the largest."""
    own = results.read(name, tier, "live")
    recorded = chosen.recorded(name, tier)
    keys = dict.fromkeys(key for result in (own, recorded) if result for key in result.get("live", {}))
    words = {claim.live: claim.quantity for claim in ledger.judged_by(name)}
    rows = [
        {
            "quantity": words.get(key, key.replace("_", " ")), "own": _shown(own, key), "recorded": _shown(recorded, key),
            "equal": _equal(own, recorded, key),
        }
        for key in keys
    ]  # fmt: skip
    return {"rows": rows, "own": own, "recorded": recorded, "tier": tier}


def _value(result: dict[str, Any] | None, key: str) -> Value | None:
    return results.live(result, key) if result and key in result.get("live", {}) else None


def _shown(result: dict[str, Any] | None, key: str) -> str:
    value = _value(result, key)
    return "none" if value is None else wording.interval(value)


def _equal(own: dict[str, Any] | None, recorded: dict[str, Any] | None, key: str) -> str:
    """Whether two results hold the same interval; nothing where one is missing or they are of different tiers."""
    mine, theirs = _value(own, key), _value(recorded, key)
    if mine is None or theirs is None or own is None or recorded is None:
        return ""
    if own["tier"] != recorded["tier"]:
        return "different tiers"
    return "equal" if _ends(mine) == _ends(theirs) else "differs"


def _ends(value: Interval | Sequence[Interval]) -> list[str]:
    every = [value] if isinstance(value, Interval) else value
    return [repr((one.mean, one.low, one.high, one.n)) for one in every]


def _budget(name: str, tier: str) -> list[tuple[str, str]]:
    """Every parameter and its value as text; none where the chapter has no budget at the tier."""
    try:
        values = budgets.resolve(name, tier).plain()
    except UserError:
        return []
    return [
        (field, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for field, value in values.items()
    ]


def _cost(result: dict[str, Any], where: Where, moved: Sequence[str]) -> dict[str, Any]:
    return {
        "where": "this copy" if where == "live" else "recorded",
        "result": result,
        "state": f"stale: {wording.staleness(moved)}" if moved else "fresh",
        "provenance": results.provenance_line(result),
    }


def _files(name: str, tier: str) -> list[dict[str, str]]:
    """The result files of this chapter, as the staging folder holds them."""
    return [
        {"label": f"{'this copy' if where == 'live' else 'recorded'}, {result['tier']} tier", "path": f"{where}/{result['tier']}/{name}"}
        for result, where in _kept(name, tier)
    ]  # fmt: skip
