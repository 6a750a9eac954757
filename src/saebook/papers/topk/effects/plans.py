"""What the chapters on what latents do train, apart from the runs of Figure 2."""

from dataclasses import replace

from saebook.papers.topk.effects.budgets import BUDGETS, GaussianNoise
from saebook.papers.topk.scaling.plans import scaling_grid
from saebook.subject.model import Site
from saebook.training.config import Method
from saebook.training.plan import Plan


def gaussian_noise(budget: GaussianNoise, site: Site) -> list[Method]:
    """Every width at its own rate, with one k: runs of Figure 1."""
    return [replace(method, sparsities=(float(budget.fixed_k),)) for method in scaling_grid(budget, site)]


PLANS = {"gaussian_noise": Plan(BUDGETS["gaussian_noise"], gaussian_noise)}
