"""The budget that nearly every chapter of the e2e paper begins with: three objectives at one site. Needs no PyTorch."""

from typing import Annotated

from annotated_types import Gt

from saebook.common.limits import Positive, Rate, Several, SweepBudget, Width

Massive = Annotated[Positive, Gt(1)] | None


class ThreeObjectives(SweepBudget):
    """Local, end-to-end and end-to-end + downstream SAEs of width `d_sae`; `downstream` weighs the last one's errors.

    `massive` leaves out of those errors, in training and in figures, later positions with activations more than so many
    times as long as the median there; None leaves out none, as in the paper.
    """

    d_sae: Width
    local_sparsities: Several[Positive]
    e2e_sparsities: Several[Positive]
    ds_sparsities: Several[Positive]
    local_lr: Rate
    e2e_lr: Rate
    ds_lr: Rate
    downstream: Positive
    massive: Massive = None
