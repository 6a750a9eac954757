"""Typed budgets of the chapters of the e2e paper, by the name of the plan. Nothing here needs PyTorch."""

from saebook.common.limits import Budget, Positive, Rate, Several, SweepBudget, Width


class ThreeObjectives(SweepBudget):
    """Local, end-to-end and end-to-end + downstream SAEs of width `d_sae`; `downstream` weighs the last one's errors."""

    d_sae: Width
    local_sparsities: Several[Positive]
    e2e_sparsities: Several[Positive]
    ds_sparsities: Several[Positive]
    local_lr: Rate
    e2e_lr: Rate
    ds_lr: Rate
    downstream: Positive


BUDGETS: dict[str, type[Budget]] = {
    "three_objectives": ThreeObjectives,
}
