"""What the chapters of the Top-k paper train: typed budgets, and the methods of each sweep."""

import math

import pandas as pd

from saebook.common.limits import SweepBudget
from saebook.evaluation.pareto import matched_ratio
from saebook.papers.topk.budgets import BUDGETS, ActivationFunctions, DeadLatents, RatesByWidth
from saebook.papers.topk.dead_latents import VARIANTS
from saebook.papers.topk.scaling import plans as scaling
from saebook.papers.topk.shape_search import ShapeSearch
from saebook.subject.model import Site
from saebook.training.loop import TrainConfig
from saebook.training.plan import Plan
from saebook.training.sweep import Method
from saebook.training.tuning import Tuner

PER_TOKEN = (("per_token", True),)  # the paper's inputs: the mean over d_in removed, every token at the same norm
_ADAM = {"beta1": 0.9, "eps": 6.25e-10}  # appendix A.3, for every architecture in its chapters
_NOT_RESAMPLED = {"resample_at": ()}  # TopK has AuxK instead, and with both no one could tell which of them helped


def rate_at(rates: RatesByWidth, width: int) -> float:
    """The learning rate at a width: the nearest known width's, scaled as 1/sqrt(d_sae) (the paper's Figure 3)."""
    nearest = min(rates, key=lambda known: abs(math.log(int(known) / width)))
    return rates[nearest] * math.sqrt(int(nearest) / width)


def activation_functions(budget: ActivationFunctions, site: Site) -> list[Method]:
    """The architectures of Figure 2, at every width with every sparsity."""
    architectures = {
        "relu": (budget.relu_sparsities, budget.relu_lr), "prolu_relu": (budget.prolu_sparsities, budget.prolu_relu_lr),
        "prolu_ste": (budget.prolu_sparsities, budget.prolu_ste_lr), "gated": (budget.gated_sparsities, budget.gated_lr),
        "topk": (tuple(float(k) for k in budget.ks), budget.topk_lr),
    }  # fmt: skip
    return [
        Method(
            architecture, width, sparsities,
            _training(budget, rate_at(rates, width), **_ADAM, **(_NOT_RESAMPLED if architecture == "topk" else {})),
            PER_TOKEN,
        )
        for width in budget.widths
        for architecture, (sparsities, rates) in architectures.items()
    ]  # fmt: skip


def dead_latents(budget: DeadLatents, site: Site) -> list[Method]:
    """TopK with neither, either and both of the remedies against dead latents (Figure 15)."""
    methods = []
    for name, (transposed, auxk) in VARIANTS.items():
        options = (
            PER_TOKEN + (() if transposed else (("transposed", False),)) + (() if auxk else (("aux_weight", 0.0),))
        )
        training = _training(budget, budget.lr, **_ADAM, **_NOT_RESAMPLED)
        methods.append(Method("topk", budget.d_sae, (float(budget.k),), training, options, name))
    return methods


def _training(budget: SweepBudget, lr: float, **others) -> TrainConfig:
    return TrainConfig(lr=lr, tokens=budget.tokens, batch=budget.batch, **others)


def error_at_equal_l0(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """The normalised error of one sweep over another's at equal L0, by which rates are chosen."""
    return matched_ratio(one, other, "normalised_mse")


PLANS = {
    "activation_functions": Plan(
        BUDGETS["activation_functions"],
        activation_functions,
        Tuner(error_at_equal_l0, (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 8e-2)),
    ),
    "dead_latents": Plan(BUDGETS["dead_latents"], dead_latents, ShapeSearch(error_at_equal_l0)),
    **scaling.PLANS,
}
