"""The budgets of each tier, written once: subject, site, widths, sparsities, tokens and seeds per notebook.

A notebook's parameters default to "take the tier's value" (an empty list or string, or -1 for a number); `resolve`
puts the tier's value there and refuses what the notebook cannot use.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import SimpleNamespace

import yaml

from saebook.common.errors import UserError

TIERS = ("smoke", "cpu", "gpu", "paper")


@dataclass(frozen=True)
class _Unset:
    """What a parameter's default says: nothing was asked for."""

    def __eq__(self, value: object) -> bool:
        return value in ("", -1) or value == []


UNSET = _Unset()


@cache
def load(tier: str) -> dict:
    """The whole budget file of a tier. Raises `UserError` for a name that is none."""
    if tier not in TIERS:
        raise UserError(f"tier '{tier}' is not known: use one of {', '.join(TIERS)}")
    return yaml.safe_load(resources.files("saebook.book").joinpath("tiers", f"{tier}.yml").read_text("utf-8"))


def resolve(notebook: str, tier: str, **asked) -> SimpleNamespace:
    """The budget of `notebook` (``gated.fig05_pareto``) at `tier`, with what was `asked` for in place of the tier's.

    An entry of the tier file may say ``like: other.notebook`` to share that one's budget. Raises `UserError` for
    an unknown tier, a notebook the tier does not have, or a value of another kind than the tier's.
    """
    entries = load(tier)
    if notebook not in entries:
        raise UserError(f"tier {tier} has no budget for {notebook}: run it at {_tiers_with(notebook)}")
    entry = dict(entries[notebook])
    budget = dict(entries[entry.pop("like")]) | entry if "like" in entry else entry
    for name, value in asked.items():
        if value == UNSET:
            continue
        if name not in budget:
            raise UserError(f"{notebook} has no budget entry '{name}' at tier {tier}")
        budget[name] = _same_kind(name, value, budget[name])
    return SimpleNamespace(tier=tier, **budget)


def _same_kind(name: str, value, like):
    if isinstance(like, list):
        if not isinstance(value, list) or not value:
            raise UserError(f"parameter {name} takes a list such as {like}, not {value!r}")
        if len(set(value)) != len(value):
            raise UserError(f"parameter {name} names a value twice: {value}")
        return [_same_kind(name, v, like[0]) for v in value]
    if isinstance(like, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(like):
        raise UserError(f"parameter {name} takes {type(like).__name__} such as {like!r}, not {value!r}")
    if isinstance(value, int | float) and value < 0:
        raise UserError(f"parameter {name} cannot be negative: {value}")
    return value


def _tiers_with(notebook: str) -> str:
    having = [tier for tier in TIERS if notebook in load(tier)]
    return " or ".join(having) if having else "no tier (it is in no tiers/*.yml)"
