"""Typed budgets of the chapters on optimisation. Nothing here needs PyTorch."""

from typing import Annotated, Self

from annotated_types import Gt, Lt
from pydantic import model_validator

from saebook.common.limits import Budget, Number, Width
from saebook.papers.topk.scaling.budgets import RatesByWidth

PAPER_MEMORY = 1000  # steps that the paper's coefficient, 0.999, averages over (appendix A.5)


class WeightAverages(RatesByWidth):
    """One `width` of Figure 3 at all of its rates, with averages of the weights over `memory_share` of all steps."""

    width: Width
    memory_share: Annotated[Number, Gt(0), Lt(1)]

    @model_validator(mode="after")
    def _average_is_one_of_its_own(self) -> Self:
        if self.width not in self.widths:
            raise ValueError(f"width must be one of widths, {list(self.widths)}, and is {self.width}")
        if self.memory < 2 or self.memory == PAPER_MEMORY:
            raise ValueError(
                f"memory_share must be a share of the run that is at least 2 steps and not the paper's {PAPER_MEMORY}, "
                f"and is {self.memory} of {self.tokens // self.batch}"
            )
        return self

    @property
    def memory(self) -> int:
        """The steps that an average over the same share of the run spans."""
        return round(self.memory_share * (self.tokens // self.batch))


BUDGETS: dict[str, type[Budget]] = {"weight_averages": WeightAverages}
