"""Plans of the Top-k paper: rates by width."""

import pytest

from saebook.book import budgets
from saebook.papers.topk import plans
from saebook.subject.model import Site
from saebook.training import tuning


def test_width_without_a_rate_takes_the_nearest_ones_by_the_square_root():
    rates = {"256": 0.04, "1024": 0.01}
    assert plans.rate_at(rates, 256) == 0.04 and plans.rate_at(rates, 1024) == 0.01
    assert plans.rate_at(rates, 4096) == pytest.approx(0.005) and plans.rate_at(rates, 64) == pytest.approx(0.08)


def test_every_architecture_is_trained_at_every_width():
    budget = budgets.resolve("topk/fig02_activations", "gpu")
    methods = plans.activation_functions(budget, Site("resid_post", 2, "", 8))
    assert len({(m.architecture, m.d_sae) for m in methods}) == len(methods) == 5 * len(budget.widths)
    assert len({m.name for m in tuning.tuned(methods)}) == len(methods)
