"""A plan: the typed budget of a chapter, and the methods that it trains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from saebook.common.limits import Budget, SubjectBudget, TrainingBudget
from saebook.subject.model import Site
from saebook.training.config import Data, Method
from saebook.training.tuning import Tuner


@dataclass(frozen=True)
class Plan:
    """`budget` is the type of the chapter's budget; `methods(budget, site)` what is trained at a site, None for nothing.

    `tuner` says how the rates of the methods are chosen, None where nothing is to be tuned.
    """

    budget: type[Budget]
    methods: Callable[[Any, Site], list[Method]] | None = None
    tuner: Tuner | None = None


def data(budget: SubjectBudget) -> Data:
    """The text of a budget: its source, how many rows are evaluated, and which positions of a row are left out."""
    block = budget.block if isinstance(budget, TrainingBudget) else Data.block
    return Data(
        source=budget.source, eval_rows=budget.eval_rows, skip=budget.skip, context=budget.context, block=block
    )  # fmt: skip
