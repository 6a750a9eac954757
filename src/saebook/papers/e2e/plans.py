"""What the chapters of the e2e paper train: a typed budget, and the methods of its sweep."""

import pandas as pd

from saebook.evaluation.pareto import matched_ratio
from saebook.papers.e2e.budgets import BUDGETS
from saebook.papers.e2e.comparison import CE, with_counts
from saebook.papers.e2e.three_objectives import ThreeObjectives
from saebook.papers.e2e.variants import plans as variants
from saebook.subject.model import Site
from saebook.training.loop import TrainConfig
from saebook.training.objectives import Objective
from saebook.training.plan import Plan
from saebook.training.sweep import Method
from saebook.training.tuning import Tuner


def three_objectives(budget: ThreeObjectives, site: Site) -> list[Method]:
    """The three objectives on SAEs of one shape (section 2, appendix D), each with its own sparsities and rate."""
    objectives = {
        "local": (Objective(reconstruction=1.0), budget.local_sparsities, budget.local_lr),
        "e2e": (Objective(kl=1.0), budget.e2e_sparsities, budget.e2e_lr),
        "e2e+ds": (
            Objective(kl=0.5, downstream=budget.downstream, massive=budget.massive),
            budget.ds_sparsities,
            budget.ds_lr,
        ),
    }
    return [
        Method(
            "normalised_relu", budget.d_sae, sparsities,
            TrainConfig(
                lr=lr, tokens=budget.tokens, batch=budget.batch, beta1=0.9, warmup_share=0.05, cosine_to=0.1,
                clip_norm=10.0, resample_at=(),
            ),
            name=name, objective=objective,
        )
        for name, (objective, sparsities, lr) in objectives.items()
    ]  # fmt: skip


def added_loss_at_equal_l0(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """The added cross-entropy of one sweep over another's at equal L0, by which rates are chosen."""
    return matched_ratio(with_counts(one), with_counts(other), CE)


PLANS = {
    "three_objectives": Plan(
        BUDGETS["three_objectives"],
        three_objectives,
        Tuner(added_loss_at_equal_l0, (1e-3, 2.5e-3, 5e-3, 1e-2), one_rate=True),
    ),
    # The runs of Figure 1, measured in other ways: at its rates.
    "principal_directions": Plan(BUDGETS["principal_directions"], three_objectives),
    "training_cost": Plan(BUDGETS["training_cost"], three_objectives),
    "agreement": Plan(BUDGETS["agreement"], three_objectives),
    "dictionary_map": Plan(BUDGETS["dictionary_map"], three_objectives),
    "explained_by_layer": Plan(BUDGETS["explained_by_layer"], variants.by_layer),
    **variants.PLANS,
}
