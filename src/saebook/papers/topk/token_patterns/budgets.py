"""Typed budgets of the chapters on explanations by token patterns. Nothing here needs PyTorch."""

from typing import Annotated, Self

from annotated_types import Ge, Lt
from pydantic import Strict, model_validator

from saebook.common.limits import Count, SubjectBudget

Places = Annotated[int, Strict(), Ge(0), Lt(10**6)]


class PatternText(SubjectBudget):
    """Patterns of at most `longest` tokens come from `explain_rows` rows of training text and are judged on `test_rows` others.

    Of each latent, the `strongest` places where it fires give one each, and so do others `drawn` at random.
    """

    explain_rows: Count
    test_rows: Count
    strongest: Places
    drawn: Places
    longest: Count

    @model_validator(mode="after")
    def _some_place(self) -> Self:
        if not self.strongest + self.drawn:
            raise ValueError(
                "strongest and drawn must not both be 0: a pattern comes from a place where a latent fires"
            )
        return self
