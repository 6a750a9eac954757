"""What the chapters that check the tools need: typed budgets, and the one SAE that is trained by hand."""

from saebook.common.limits import (
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
)  # fmt: skip
from saebook.subject.model import Site
from saebook.training.config import Method, TrainConfig
from saebook.training.plan import Plan


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


def one_sae(budget: OneSAE, site: Site) -> list[Method]:
    """The baseline of the Gated paper without resampling, which thirty lines can say."""
    config = TrainConfig(lr=budget.lr, tokens=budget.tokens, batch=budget.batch, beta2=budget.beta2, resample_at=())
    return [Method("relu", budget.d_sae, (budget.sparsity,), config)]


PLANS = {"planted": Plan(Planted), "one_sae": Plan(OneSAE, one_sae)}
