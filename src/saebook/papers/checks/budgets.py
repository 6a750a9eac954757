"""Typed budgets of the chapters that check the tools, by the name of the plan. Nothing here needs PyTorch."""

from saebook.common.limits import (
    Budget,
    Count,
    Decay,
    NotNegative,
    Number,
    Positive,
    Rate,
    Several,
    Share,
    SiteBudget,
    SweepBudget,
    Width,
)


class Planted(SiteBudget):
    """Dictionaries of `elements` directions in `width` dimensions whose every metric is known before it is measured."""

    tokens: Count
    elements: Width
    width: Width
    planted_l0s: Several[Width]
    shrinkages: Several[Share]
    dead_shares: Several[Share]
    angles: Several[NotNegative]
    factors: Several[Number]


class OneSAE(SweepBudget):
    """One ReLU SAE of width `d_sae` at one sparsity, trained twice: by hand in the notebook, and by the library."""

    d_sae: Width
    sparsity: Positive
    lr: Rate
    beta2: Decay


BUDGETS: dict[str, type[Budget]] = {
    "planted": Planted,
    "one_sae": OneSAE,
}
