"""What the chapters on optimisation train."""

from saebook.papers.topk.optimisation import averaging
from saebook.papers.topk.optimisation.budgets import BUDGETS, WeightAverages
from saebook.papers.topk.scaling.plans import rates_by_width
from saebook.subject.model import Site
from saebook.training.config import Method
from saebook.training.plan import Plan


def weight_averages(budget: WeightAverages, site: Site) -> list[Method]:
    """One width at every rate of Figure 3, with and without averages (Figure 13). Those without are runs of Figure 3."""
    methods = [method for method in rates_by_width(budget, site) if method.d_sae == budget.width]
    return [variant for method in methods for variant in averaging.variants(method, budget.memory)]


PLANS = {
    "weight_averages": Plan(BUDGETS["weight_averages"], weight_averages),
    "step_times": Plan(BUDGETS["step_times"]),  # measures steps and keeps nothing that it trains
}
