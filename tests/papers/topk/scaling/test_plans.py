"""What the chapters on scaling train, and the rule for rates of batches."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from saebook.book import budgets
from saebook.common.errors import UserError
from saebook.papers.topk import plans as all_plans
from saebook.papers.topk.scaling import plans
from saebook.subject.model import Site
from saebook.text.held_out import CHOOSING
from saebook.training import tuning
from saebook.training.config import Data
from saebook.training.sweep import SweepResult

SITE = Site("resid_post", 2, "", 8)
GRID, RATES = "topk/fig01_scaling_laws", "topk/fig03_learning_rate"
CONVERGENCE, BATCHES = "topk/fig11_convergence", "topk/fig12_batch_size"


def keyed(methods):
    """Each run of the methods without the grid that it is part of and its name, as a sweep's key sees it."""
    return {(m.architecture, m.d_sae, k, m.training, m.options) for m in methods for k in m.sparsities}


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_chapters_share_the_runs_of_one_grid(tier):
    grid = plans.scaling_grid(budgets.resolve(GRID, tier), SITE)
    assert len(keyed(grid)) == sum(len(m.sparsities) for m in grid)
    assert keyed(plans.convergence(budgets.resolve(CONVERGENCE, tier), SITE)) < keyed(grid)
    budget = budgets.resolve(RATES, tier)
    at_rates = plans.rates_by_width(budget, SITE)
    assert len(keyed(at_rates)) == len(budget.widths) * len(budget.rates)
    assert not tuning.to_tune(grid, grid) and len({m.name for m in tuning.tuned(grid)}) == len(budget.widths)


def test_rates_of_the_cpu_tier_are_on_the_grid_of_figure_3():
    budget = budgets.resolve(RATES, "cpu")
    assert set(budget.topk_lr.values()) <= set(budget.rates)
    shared = keyed(plans.rates_by_width(budget, SITE)) & keyed(plans.scaling_grid(budgets.resolve(GRID, "cpu"), SITE))
    assert len(shared) == len(budget.widths)


@pytest.mark.parametrize("name", [GRID, RATES, CONVERGENCE, BATCHES])
def test_inputs_and_optimiser_are_those_of_the_other_chapters_and_the_rate_is_constant(name):
    budget = budgets.resolve(name, "cpu")
    other = all_plans.dead_latents(budgets.resolve("topk/fig15_dead_latents", "cpu"), SITE)[0]
    for method in budgets.plan(name).methods(budget, SITE):
        assert method.options[:1] == all_plans.PER_TOKEN and dict(method.options)["aux_weight"] == 1 / 32
        t, o = method.training, other.training
        assert (t.beta1, t.beta2, t.eps, t.resample_at) == (o.beta1, o.beta2, o.eps, o.resample_at)
        assert {t.rate(step) for step in range(t.steps)} == {t.lr}


def test_batches_see_the_same_tokens_each_at_its_own_rate():
    budget = budgets.resolve(BATCHES, "cpu")
    methods = plans.batch_sizes(budget, SITE)
    assert {m.training.batch: m.training.lr for m in methods} == {b: budget.topk_lr[str(b)] for b in budget.batches}
    assert {m.training.steps * m.training.batch for m in methods} == {budget.tokens}


@pytest.mark.filterwarnings("ignore:An input array is constant")  # one k has no rank correlation with L0
def test_rule_takes_the_rate_of_least_error_for_each_batch():
    rows = [
        {
            "method": name, "lr": lr, "seed": seed, "sparsity": 16.0, "l0": 16.0, "loss_recovered": 0.9, "alive": 1.0,
            "normalised_mse": 0.2 + 0.01 * np.log(lr / best) ** 2 + 0.001 * seed,
        }
        for name, best in (("batch 64", 2.5e-3), ("batch 256", 1e-2))
        for lr in plans.RATES
        for seed in (101, 102)
    ]  # fmt: skip
    scored = tuning.scores(pd.DataFrame(rows), plans.error_at_equal_k)
    tuner = budgets.plan(BATCHES).tuner
    assert tuner.chosen(scored) == {"batch 64": 2.5e-3, "batch 256": 1e-2} and tuner.cost is plans.error_at_equal_k


def test_methods_of_several_batches_are_tuned_one_by_one(monkeypatch):
    asked = []

    def made_up(subject, site, methods, seeds, data):
        (method,) = methods
        asked.append((method.training.batch, method.training.lr, tuple(seeds), data.eval_part))
        error = 0.2 + 0.01 * abs(np.log(method.training.lr * 256 / method.training.batch / 5e-3))
        about = {"method": method.name, "sparsity": 16.0, "l0": 16.0, "loss_recovered": 0.9, "alive": 1.0}
        return SweepResult(pd.DataFrame([about | {"seed": s, "normalised_mse": error} for s in seeds]), len(seeds))

    monkeypatch.setattr(plans, "sweep", made_up)
    budget = budgets.resolve(BATCHES, "cpu")
    tuner = plans.EachAlone(plans.error_at_equal_k, (1.25e-3, 5e-3, 2e-2))
    grid = tuner.run(budget, SimpleNamespace(site=lambda *_: SITE), plans.batch_sizes(budget, SITE), Data())
    assert grid.findings["chosen"] == {"batch 64": 1.25e-3, "batch 256": 5e-3, "batch 1024": 2e-2}
    assert len(asked) == 9 and {seeds for _, _, seeds, _ in asked} == {tuning.SEEDS}
    assert {part for *_, part in asked} == {CHOOSING} and len(grid.table) == 18


def test_errors_are_compared_at_equal_k_alone():
    one = pd.DataFrame({"sparsity": [8.0, 16.0, 32.0], "normalised_mse": [0.2, 0.1, 9.0]})
    other = pd.DataFrame({"sparsity": [8.0, 16.0], "normalised_mse": [0.1, 0.1]})
    assert plans.error_at_equal_k(one, other) == pytest.approx(2**0.5)
    assert np.isnan(plans.error_at_equal_k(one.head(1), other.tail(1)))


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        (GRID, {"widths": (128, 256)}, "three widths, two ks, seven pairs"),
        (GRID, {"fixed_k": 5}, "fixed_k must be one of ks"),
        (GRID, {"ks": (4, 16, 1024)}, "ks must be at most the smallest width, 128"),
        (GRID, {"widths": (128, 256, 512, 2048)}, "a rate for every width, and has none for 2048"),
        (GRID, {"topk_lr": {"wide": 0.01}}, "must map sizes to rates"),
        (RATES, {"rates": (0.01, 0.02)}, "rates must be at least three"),
        (CONVERGENCE, {"epsilon": 0.0}, "epsilon"),
        (BATCHES, {"batches": (64, 1024)}, "batches must hold batch, 256"),
        (BATCHES, {"batches": (256, 1024, 2**20)}, "tokens must fill every one of batches"),
        (BATCHES, {"k": 1024}, "k must be at most d_sae"),
    ],
)
def test_budget_that_makes_no_sense_is_refused_in_one_line(name, changed, words):
    with pytest.raises(UserError, match=words):
        budgets.resolve(name, "cpu", **changed)
