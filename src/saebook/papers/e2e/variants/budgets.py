"""Typed budgets of the chapters that vary Figure 1. Nothing here needs PyTorch."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from saebook.common.limits import (
    Budget,
    Count,
    Positive,
    Rate,
    Several,
    Share,
    SitesBudget,
    TrainingBudget,
    Width,
)
from saebook.papers.e2e.three_objectives import Massive, ThreeObjectives

ObjectiveName = Literal["local", "e2e", "e2e+ds"]


def _by_layer(values: dict) -> dict:
    if not values or not all(layer.isdigit() for layer in values):
        raise ValueError('must map layers to values, such as {"1": [0.1, 0.3]}')
    return values


SparsitiesByLayer = Annotated[dict[str, Several[Positive]], AfterValidator(_by_layer)]
WeightByLayer = Annotated[dict[str, Positive], AfterValidator(_by_layer)]


class Objectives(ThreeObjectives):
    """The SAEs of Figure 1, of which those of `objective_names` are trained."""

    objective_names: Several[ObjectiveName] = ("local", "e2e", "e2e+ds")

    @model_validator(mode="after")
    def _both_sides(self) -> Self:
        if not {"local", "e2e"} <= set(self.objective_names):
            raise ValueError(
                f"objective_names must be local and e2e at least, which are compared, not {list(self.objective_names)}"
            )
        return self


class ByLayer(SitesBudget, TrainingBudget):
    """The three objectives at several layers, each with sparsities of its own and a weight of the downstream term.

    A layer that `downstream` does not name trains no SAE with that term: after the last block there is nothing downstream.
    """

    d_sae: Width
    lr: Rate
    local_sparsities: SparsitiesByLayer
    e2e_sparsities: SparsitiesByLayer
    ds_sparsities: SparsitiesByLayer
    downstream: WeightByLayer
    massive: Massive = None

    @model_validator(mode="after")
    def _every_layer(self) -> Self:
        if len(self.sites) > 1 or len(self.layers) < 2:
            raise ValueError("sites must name one type of site, and layers at least two, to be compared")
        for name in ("local_sparsities", "e2e_sparsities"):
            if missing := [layer for layer in self.layers if str(layer) not in getattr(self, name)]:
                raise ValueError(f"{name} must have values for every layer, and has none for {missing[0]}")
        weighted = set(self.downstream) & {str(layer) for layer in self.layers}
        if missing := sorted(weighted - set(self.ds_sparsities)):
            raise ValueError(
                f"ds_sparsities must have values for every layer of downstream, and has none for {missing[0]}"
            )
        return self


class Lengths(Objectives):
    """The objectives on each of several `shares` of `tokens`, all of them among these."""

    shares: Several[Share]

    @model_validator(mode="after")
    def _lengths_can_be_compared(self) -> Self:
        if len(self.shares) < 2 or max(self.shares) != 1:
            raise ValueError(f"shares must be two or more and end at 1, not {list(self.shares)}")
        if min(self.lengths) < self.batch:
            raise ValueError(
                f"shares must fill at least one batch of {self.batch}, and begin at {min(self.lengths)} tokens"
            )
        return self

    @property
    def lengths(self) -> list[int]:
        """The tokens of each length of training."""
        return [round(share * self.tokens) for share in self.shares]


class Widths(Objectives):
    """The objectives at each of several `widths`, of which `d_sae` is one."""

    widths: Several[Width]

    @model_validator(mode="after")
    def _widths_can_be_compared(self) -> Self:
        if len(self.widths) < 2 or self.d_sae not in self.widths:
            raise ValueError(f"widths must hold d_sae, {self.d_sae}, and another, and are {list(self.widths)}")
        return self


class LearningRates(Objectives):
    """The objectives at each of several `rates`, the same for all."""

    rates: Several[Rate]

    @model_validator(mode="after")
    def _a_slope(self) -> Self:
        if len(self.rates) < 3:
            raise ValueError(f"rates must be at least three, so that a slope can bend, not {len(self.rates)}")
        return self


class OwnRates(Objectives):
    """The objectives at the rate that they share, and each at the one that it would have by itself."""

    own_local_lr: Rate
    own_e2e_lr: Rate
    own_ds_lr: Rate

    @model_validator(mode="after")
    def _two_ways(self) -> Self:
        if len({self.local_lr, self.e2e_lr, self.ds_lr}) > 1:
            raise ValueError(
                "local_lr, e2e_lr and ds_lr must be one rate, that which the objectives share, and are "
                f"{self.local_lr:g}, {self.e2e_lr:g} and {self.ds_lr:g}"
            )
        if {self.own_local_lr, self.own_e2e_lr, self.own_ds_lr} == {self.local_lr}:
            raise ValueError(f"own rates must differ from the shared one, {self.local_lr:g}, in at least one objective")
        return self


class Encoders(Objectives):
    """The objectives with the paper's SAE, with Gated and with TopK, whose sparsities are `ks` under every objective."""

    gated_local_sparsities: Several[Positive]
    gated_e2e_sparsities: Several[Positive]
    gated_ds_sparsities: Several[Positive]
    ks: Several[Width]

    @model_validator(mode="after")
    def _k_within_width(self) -> Self:
        if max(self.ks) > self.d_sae:
            raise ValueError(f"ks must be at most d_sae, {self.d_sae}, and reach {max(self.ks)}")
        return self


class Finetuning(Objectives):
    """Local SAEs trained on for `finetune_tokens` more, at a rate that falls linearly from `finetune_lr` to zero."""

    finetune_tokens: Count
    finetune_lr: Rate

    @model_validator(mode="after")
    def _short(self) -> Self:
        if not self.batch <= self.finetune_tokens <= self.tokens:
            raise ValueError(
                f"finetune_tokens must be from one batch, {self.batch}, to tokens, {self.tokens}, and are {self.finetune_tokens}"
            )
        return self


BUDGETS: dict[str, type[Budget]] = {
    "by_layer": ByLayer,
    "lengths": Lengths,
    "widths": Widths,
    "learning_rates": LearningRates,
    "own_rates": OwnRates,
    "encoders": Encoders,
    "finetuning": Finetuning,
}
