"""Typed budgets of the chapters on optimisation. Nothing here needs PyTorch."""

from typing import Annotated, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Strict, model_validator

from saebook.common.limits import Budget, Number, Several, SiteBudget, Width
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


class StepTimes(SiteBudget):
    """Times of a step at every one of `widths` with `k`, and with every one of `ks` at `width`.

    A time is that of `steps` steps, and is taken in each of `rounds` for every seed, by which an SAE begins.
    """

    batch: Width
    widths: Several[Width]
    ks: Several[Width]
    width: Width
    k: Width
    rounds: Annotated[int, Strict(), Ge(6), Le(1000)]  # fewer have no interval
    steps: Annotated[int, Strict(), Ge(1), Lt(16)]  # before a step that looks up dead latents

    @model_validator(mode="after")
    def _shapes_exist(self) -> Self:
        if self.width not in self.widths or self.k not in self.ks:
            raise ValueError(
                f"width must be one of widths, {list(self.widths)}, and k one of ks, {list(self.ks)}: "
                f"they are {self.width} and {self.k}"
            )
        if self.k > min(self.widths) or max(self.ks) > self.width:
            raise ValueError(f"k must be at most the smallest width, {min(self.widths)}, and ks at most {self.width}")
        return self


BUDGETS: dict[str, type[Budget]] = {"weight_averages": WeightAverages, "step_times": StepTimes}
