"""Typed budgets of the chapters on probes. Nothing here needs PyTorch."""

from typing import Self

from pydantic import model_validator

from saebook.common.limits import Budget, Count, Share, SiteBudget, SubjectBudget


class ProbeText(SubjectBudget):
    """Probes are chosen on `choice_rows` rows and scored on `eval_rows` others; a task counts in these shares of positives."""

    choice_rows: Count
    min_share: Share
    max_share: Share

    @model_validator(mode="after")
    def _some_share(self) -> Self:
        if self.min_share >= self.max_share:
            raise ValueError(f"min_share must be below max_share, {self.max_share:g}, and is {self.min_share:g}")
        return self


class ProbeTasks(SiteBudget, ProbeText):
    """The tasks alone, with probes on the activations themselves; `seeds` shuffle the labels."""


BUDGETS: dict[str, type[Budget]] = {"probe_tasks": ProbeTasks}
