"""Typed budgets of the chapters on scaling. Nothing here needs PyTorch."""

from typing import Annotated, Self

from annotated_types import Ge, Gt, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict, StrictStr, model_validator

from saebook.common.limits import Budget, Index, Number, Rate, Several, SweepBudget, Width
from saebook.subject.random_weights import trained


def _by_size(rates: dict[str, float]) -> dict[str, float]:
    if not rates or not all(size.isdigit() and int(size) > 0 for size in rates):
        raise ValueError('must map sizes to rates, such as {"512": 0.01}')
    return rates


RatesBySize = Annotated[dict[str, Rate], AfterValidator(_by_size)]
Epsilon = Annotated[Number, Gt(0), Lt(1)]


class ScalingGrid(SweepBudget):
    """TopK at every width with every k; `fixed_k` is the one that curves over compute, rate and tokens are read at."""

    widths: Several[Width]
    ks: Several[Width]
    fixed_k: Width
    topk_lr: RatesBySize

    @model_validator(mode="after")
    def _law_can_be_fitted(self) -> Self:
        if len(self.widths) < 3 or len(self.ks) < 2 or len(self.widths) * len(self.ks) < 7:
            raise ValueError(
                "widths and ks must give a law something to be fitted to: three widths, two ks, seven pairs"
            )
        if self.fixed_k not in self.ks:
            raise ValueError(f"fixed_k must be one of ks, {list(self.ks)}, and is {self.fixed_k}")
        if max(self.ks) > min(self.widths):
            raise ValueError(f"ks must be at most the smallest width, {min(self.widths)}, and reach {max(self.ks)}")
        _every_rate(self.topk_lr, self.widths, "width")
        return self


class RatesByWidth(ScalingGrid):
    """The widths of a scaling grid, each at every one of `rates`."""

    rates: Several[Rate]

    @model_validator(mode="after")
    def _minimum_can_be_inside(self) -> Self:
        if len(self.rates) < 3:
            raise ValueError(
                f"rates must be at least three, so that a best one can lie between two, not {len(self.rates)}"
            )
        return self


class Convergence(ScalingGrid):
    """The runs of a scaling grid; `epsilon` is the relative gain from twice the tokens below which one has converged."""

    epsilon: Epsilon


class EachBlock(BaseModel):
    """TopK of `d_sae` latents, `k` of them active, on the residual stream after each of `layers` of one language model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: StrictStr
    source: StrictStr = "environment"
    context: Annotated[Width, Ge(2)] | None = None
    skip: Index = 1
    layers: Several[Index]
    d_sae: Width
    k: Width
    lr: Rate

    @model_validator(mode="after")
    def _blocks_can_be_compared(self) -> Self:
        if len(self.layers) < 2:
            raise ValueError(f"layers must be at least two, to have a slope, not {list(self.layers)}")
        if self.k > self.d_sae:
            raise ValueError(f"k must be at most d_sae, {self.d_sae}, and is {self.k}")
        return self


class SubjectSizes(SweepBudget):
    """TopK at every width with every k, on `subject` and on `smaller` ones of its family, each at its rate in `topk_lr`.

    `fixed_k` is the k at which numbers of latents are compared. `deeper` is one language model after several of its blocks.
    """

    smaller: Several[StrictStr]
    deeper: EachBlock
    widths: Several[Width]
    ks: Several[Width]
    fixed_k: Width
    topk_lr: dict[str, Rate]

    @model_validator(mode="after")
    def _sizes_can_be_compared(self) -> Self:
        family = [trained(name) for name in (*self.smaller, self.subject)]
        if len(set(family)) < len(family):
            raise ValueError(f"smaller must name other subjects than {family[-1]}")
        if len(self.widths) < 2:
            raise ValueError(f"widths must be at least two, to have an exponent, not {list(self.widths)}")
        if self.fixed_k not in self.ks:
            raise ValueError(f"fixed_k must be one of ks, {list(self.ks)}, and is {self.fixed_k}")
        if max(self.ks) > min(self.widths):
            raise ValueError(f"ks must be at most the smallest width, {min(self.widths)}, and reach {max(self.ks)}")
        if without := [name for name in family if name not in self.topk_lr]:
            raise ValueError(f"topk_lr must have a rate for every subject, and has none for {without[0]}")
        return self


class BatchSizes(SweepBudget):
    """One SAE on the same tokens in every one of `batches`; `batch` is the one that the other chapters on scaling use."""

    d_sae: Width
    k: Width
    batches: Several[Width]
    topk_lr: RatesBySize

    @model_validator(mode="after")
    def _batches_can_be_compared(self) -> Self:
        if self.k > self.d_sae:
            raise ValueError(f"k must be at most d_sae, {self.d_sae}, and is {self.k}")
        if self.batch not in self.batches or len(self.batches) < 2:
            raise ValueError(f"batches must hold batch, {self.batch}, and another, and are {list(self.batches)}")
        if max(self.batches) > self.tokens:
            raise ValueError(
                f"tokens must fill every one of batches, and {self.tokens} do not fill {max(self.batches)}"
            )
        _every_rate(self.topk_lr, self.batches, "batch")
        return self


def _every_rate(rates: dict[str, float], sizes: tuple[int, ...], what: str) -> None:
    without = [size for size in sizes if str(size) not in rates]
    if without:
        raise ValueError(f"topk_lr must have a rate for every {what}, and has none for {without[0]}")


BUDGETS: dict[str, type[Budget]] = {
    "scaling_grid": ScalingGrid,
    "rates_by_width": RatesByWidth,
    "convergence": Convergence,
    "batch_sizes": BatchSizes,
    "subject_sizes": SubjectSizes,
}
