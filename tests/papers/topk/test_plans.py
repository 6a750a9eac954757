"""Plans of the Top-k paper: rates by width."""

from dataclasses import replace

import pytest

from saebook.book import budgets, tune
from saebook.common.errors import UserError
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


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_chapters_about_test_time_share_the_runs_of_figure_2(tier):
    site = Site("resid_post", 2, "", 8)
    figure_2 = plans.activation_functions(budgets.resolve("topk/fig02_activations", tier), site)
    widest = max(method.d_sae for method in figure_2)
    relu, topk = ([m for m in figure_2 if (m.architecture, m.d_sae) == (name, widest)] for name in ("relu", "topk"))
    assert plans.refinement(budgets.resolve("topk/fig09_refinement", tier), site) == relu + topk
    *shared, multi = plans.progressive(budgets.resolve("topk/fig10_progressive", tier), site)
    assert shared == relu + topk and multi == replace(topk[0], architecture="multi_topk")
    kinds = budgets.resolve("topk/fig23_probes_kinds", tier)
    assert plans.refinement(kinds, site) == [*relu, replace(topk[0], sparsities=tuple(map(float, kinds.ks)))]
    probed = budgets.resolve("topk/fig06_probes", tier)
    every = [m for m in figure_2 if m.architecture == "topk"]
    assert plans.probe_widths(probed, site) == [replace(m, sparsities=tuple(map(float, probed.ks))) for m in every]
    assert set(every[0].sparsities) <= set(map(float, probed.ks))
    first = budgets.resolve("topk/figF2_position", tier)
    assert plans.positions(first, site) == topk and first.skip == 0


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_later_architectures_stand_beside_the_runs_of_figure_2(tier):
    site, budget = Site("resid_post", 2, "", 8), budgets.resolve("topk/knob_batch_topk", tier)
    figure_2 = plans.activation_functions(budgets.resolve("topk/fig02_activations", tier), site)
    *shared, batch, jump = plans.batch_topk(budget, site)
    widest = max(budget.widths)
    assert shared == [m for m in figure_2 if m.d_sae == widest and m.architecture in ("relu", "gated", "topk")]
    topk = shared[-1]
    lr = replace(topk.training, lr=budget.batch_topk_lr)
    assert batch == replace(
        topk, architecture="batch_topk", training=lr
    )  # another activation function, and nothing else
    assert jump.training == replace(topk.training, lr=budget.jump_relu_lr)
    assert dict(jump.options)["bandwidth"] == budget.jump_relu_bandwidth
    asked = tune.to_tune("topk/knob_batch_topk", budget)
    assert [method.architecture for method in asked] == ["batch_topk", "jump_relu"]


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_ablated_latents_are_those_of_figure_2_and_of_larger_k(tier):
    site, budget = Site("resid_post", 2, "", 8), budgets.resolve("topk/sec44_ablation_sparsity", tier)
    (topk,) = plans.positions(budgets.resolve("topk/fig02_activations", tier), site)
    (method,) = plans.logit_effects(budget, site)
    assert replace(method, sparsities=topk.sparsities) == topk
    assert method.sparsities == topk.sparsities + tuple(map(float, budget.larger_ks))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"larger_ks": [16]}, "must lie above ks"),
        ({"larger_ks": [4096]}, "at most the width"),
        ({"effect_tokens": 1}, "at least two"),
    ],
)
def test_ablations_that_cannot_be_made_are_refused_in_one_line(asked, words):
    with pytest.raises(UserError, match=words) as refused:
        budgets.resolve("topk/sec44_ablation_sparsity", "smoke", **asked)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "words"), [([2, 4, 1024], "at most the width"), ([32, 64], "below the largest of ks")]
)
def test_l0s_that_cannot_be_compared_are_refused_in_one_line(asked, words):
    with pytest.raises(UserError, match=words) as refused:
        budgets.resolve("topk/fig10_progressive", "smoke", test_l0s=asked)
    assert "\n" not in str(refused.value)


def test_range_of_shares_that_holds_nothing_is_refused_in_one_line():
    with pytest.raises(UserError, match="min_share must be below max_share") as refused:
        budgets.resolve("topk/tab01_probe_tasks", "smoke", min_share=0.6)
    assert "\n" not in str(refused.value)
