"""The budget of a chapter at a tier: the sidecar's values, what the reader asked for instead, and the type they must have."""

import importlib
from typing import TYPE_CHECKING, Any

from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.common.limits import Budget

if TYPE_CHECKING:
    from saebook.training.plan import Plan


def plan(name: str) -> "Plan":
    """The plan of chapter `name`. Raises `UserError` when the sidecar names one that its paper does not have."""
    budget_class(name)
    card = sidecar.load(name)
    return importlib.import_module(f"saebook.papers.{card.paper}.plans").PLANS[card.plan]


def budget_class(name: str) -> type[Budget]:
    """The type of the chapter's budget: what may be asked for, and its bounds. Imports no PyTorch; raises as `plan` does."""
    card = sidecar.load(name)
    known = importlib.import_module(f"saebook.papers.{card.paper}.budgets").BUDGETS
    if card.plan not in known:
        raise UserError(f"notebooks/{name}.yml: no plan '{card.plan}': use one of {', '.join(known)}")
    return known[card.plan]


def resolve(name: str, tier: str, **asked: Any) -> Budget:
    """The budget of `name` at `tier`, with what was `asked` for in place of the sidecar's; None asks for nothing.

    Raises `UserError` in one line for an unknown tier or parameter, or a value out of bounds.
    """
    given = {field: value for field, value in asked.items() if value is not None}
    values = sidecar.load(name).values(tier)
    return budget_class(name).checked(name, {**values, **given, "tier": tier})
