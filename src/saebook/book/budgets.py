"""The budget of a chapter at a tier: the sidecar's values, what the reader asked for instead, and the type they must have."""

import functools
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import StrictStr, create_model

from saebook.common import sidecar
from saebook.common.errors import UserError
from saebook.common.limits import Budget, Several
from saebook.common.notebook import cells

if TYPE_CHECKING:
    from saebook.training.plan import Plan


class WithSAEs(Budget):
    """Beside what the chapter trains: names of trained SAEs that are set beside it (`book.own`)."""

    sae: Several[StrictStr] | None = None

    def plain(self) -> dict[str, Any]:
        """The budget as JSON knows it. One that names no SAE reads as if there were no such parameter."""
        kept = super().plain()
        return kept if self.sae else {name: value for name, value in kept.items() if name != "sae"}


def plan(name: str) -> "Plan":
    """The plan of chapter `name`. Raises `UserError` when the sidecar names one that its paper does not have."""
    budget_class(name)
    card = sidecar.load(name)
    return importlib.import_module(f"saebook.papers.{card.paper}.plans").PLANS[card.plan]


def budget_class(name: str) -> type[Budget]:
    """The type of the chapter's budget: what may be asked for, and its bounds. Imports no PyTorch; raises as `plan` does.

    A chapter whose notebook has a parameter `sae` takes trained SAEs, whatever its plan is.
    """
    card = sidecar.load(name)
    known = importlib.import_module(f"saebook.papers.{card.paper}.budgets").BUDGETS
    if card.plan not in known:
        raise UserError(f"notebooks/{name}.yml: no plan '{card.plan}': use one of {', '.join(known)}")
    return _with_saes(known[card.plan]) if takes_saes(name) else known[card.plan]


def takes_saes(name: str) -> bool:
    """Whether the notebook of chapter `name` has a parameter `sae`."""
    file = sidecar.folder() / f"{name}.ipynb"
    return file.is_file() and _has_parameter(file, file.stat().st_mtime_ns)


def resolve(name: str, tier: str, **asked: Any) -> Budget:
    """The budget of `name` at `tier`, with what was `asked` for in place of the sidecar's; None asks for nothing.

    Raises `UserError` in one line for an unknown tier or parameter, or a value out of bounds.
    """
    given = {field: value for field, value in asked.items() if value is not None}
    values = sidecar.load(name).values(tier)
    return budget_class(name).checked(name, {**values, **given, "tier": tier})


@functools.lru_cache(maxsize=512)
def _has_parameter(file: Path, changed: int) -> bool:
    return any("parameters" in cell.tags and re.search(r"^sae\b", cell.source, re.MULTILINE) for cell in cells(file))


@functools.cache
def _with_saes(budget: type[Budget]) -> type[Budget]:
    """The same type of budget with the field `sae`: one class each, so that two budgets of a chapter compare equal."""
    return create_model(budget.__name__, __base__=(budget, WithSAEs), __doc__=budget.__doc__)
