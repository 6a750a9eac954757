"""What the chapters that check the tools need: typed budgets, and the one SAE that is trained by hand."""

from saebook.papers.checks.budgets import BUDGETS, OneSAE
from saebook.subject.model import Site
from saebook.training.config import Method, TrainConfig
from saebook.training.plan import Plan


def one_sae(budget: OneSAE, site: Site) -> list[Method]:
    """The baseline of the Gated paper without resampling, which thirty lines can say."""
    config = TrainConfig(lr=budget.lr, tokens=budget.tokens, batch=budget.batch, beta2=budget.beta2, resample_at=())
    return [Method("relu", budget.d_sae, (budget.sparsity,), config)]


PLANS = {"planted": Plan(BUDGETS["planted"]), "one_sae": Plan(BUDGETS["one_sae"], one_sae)}
