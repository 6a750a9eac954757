"""Plans of the Gated paper: rates by type of site."""

import pytest

from saebook.book import budgets
from saebook.papers.gated import plans
from saebook.subject.model import Site


def test_each_site_has_its_own_rate_and_an_untuned_one_the_smallest():
    budget = budgets.resolve("gated/fig12_sites", "smoke").model_copy(
        update={"gated_lr": {"mlp_out": 0.01, "resid_post": 0.03}, "baseline_lr": {"mlp_out": 0.02, "resid_post": 0.04}}
    )
    for kind, rates in (("resid_post", [0.03, 0.04]), ("mlp_out", [0.01, 0.02]), ("resid_pre", [0.01, 0.02])):
        methods = plans.against_baseline(budget, Site(kind, 0, "", 8))
        assert [method.training.lr for method in methods] == rates


@pytest.mark.parametrize("name", ["gated/fig05_pareto", "gated/fig08_ablations", "gated/knob_dead_latents"])
def test_baseline_is_wider_for_equal_compute(name):
    budget = budgets.resolve(name, "cpu")
    gated, relu = plans.against_baseline(budget, Site("resid_post", 1, "", 8))
    assert (gated.architecture, relu.architecture) == ("gated", "relu")
    assert relu.d_sae == round(gated.d_sae * budget.baseline_width)
