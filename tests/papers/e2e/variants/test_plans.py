"""What the chapters that vary Figure 1 train, and that they share its runs where nothing differs."""

import pandas as pd
import pytest

from saebook.book import budgets
from saebook.common.errors import UserError
from saebook.papers.e2e import plans as all_plans
from saebook.papers.e2e.budgets import ThreeObjectives
from saebook.papers.e2e.variants import plans
from saebook.papers.e2e.variants.budgets import Objectives
from saebook.subject.model import Site
from saebook.training.config import Data
from saebook.training.sweep import SweepResult

FIG01 = "e2e/fig01_pareto"
CHAPTERS = [
    "e2e/fig17_samples",
    "e2e/fig16_width",
    "e2e/fig13_learning_rates",
    "e2e/knob_encoders",
    "e2e/knob_finetune",
    "e2e/knob_own_rates",
]
SITE = Site("resid_pre", 1, "", 8)


def keyed(methods):
    """Each run of the methods without the grid that it is part of and its name, as a sweep's key sees it."""
    return {(m.architecture, m.d_sae, k, m.training, m.options, m.objective) for m in methods for k in m.sparsities}


def methods(name, tier, site=SITE, **asked):
    return budgets.plan(name).methods(budgets.resolve(name, tier, **asked), site)


@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_recipe_is_that_of_figure_1(tier):
    budget = budgets.resolve(FIG01, tier)
    same = Objectives.checked(FIG01, budget.plain())
    assert plans.figure_1(same, SITE) == all_plans.three_objectives(budget, SITE)
    massive = budget.model_copy(update={"massive": 10.0})
    same = Objectives.checked(FIG01, massive.plain())
    assert plans.figure_1(same, SITE) == all_plans.three_objectives(massive, SITE)
    assert set(Objectives.model_fields) - {"objective_names"} == set(ThreeObjectives.model_fields)


@pytest.mark.parametrize("name", CHAPTERS)
@pytest.mark.parametrize("tier", ["smoke", "cpu", "gpu", "paper"])
def test_every_run_is_asked_for_once(name, tier):
    trained = methods(name, tier)
    assert len(keyed(trained)) == sum(len(m.sparsities) for m in trained)


def test_runs_of_figure_1_are_shared_on_a_laptop():
    of_fig01 = keyed(methods(FIG01, "cpu"))
    assert keyed(methods("e2e/knob_finetune", "cpu")) < of_fig01
    assert keyed(methods("e2e/fig18_seeds", "cpu")) == of_fig01
    assert {len(keyed(methods(name, "cpu")) & of_fig01) for name in CHAPTERS[:3]} == {9, 4, 3}
    assert of_fig01 <= keyed(methods("e2e/fig04_layers", "cpu"))
    # Half as long as Figure 1, so that they are runs of the page on samples instead.
    assert len(keyed(methods("e2e/knob_encoders", "cpu")) & keyed(methods("e2e/fig17_samples", "cpu"))) == 6


def test_downstream_term_is_left_out_where_nothing_lies_downstream():
    early, last = (methods("e2e/fig04_layers", "cpu", Site("resid_pre", layer, "", 8)) for layer in (2, 3))
    assert [m.name for m in early] == ["local", "e2e", "e2e+ds"] and [m.name for m in last] == ["local", "e2e"]
    assert early[2].objective.downstream == 2.5 and early[2].objective.kl == 0.5


def test_objective_and_value_are_read_back_from_names():
    table = pd.DataFrame({"method": [m.name for m in methods("e2e/fig13_learning_rates", "cpu")]})
    split = plans.split_rates(table)
    assert set(split.method) == {"local", "e2e", "e2e+ds"} and set(split.lr) == {0.001, 0.0025, 0.005, 0.01}
    table = pd.DataFrame({"method": [m.name for m in methods("e2e/knob_encoders", "gpu")]})
    split = plans.split_encoders(table)
    assert set(split.encoder) == {"normalised_relu", "gated", "topk"} and len(split.drop_duplicates()) == 9


@pytest.mark.parametrize("tier", ["cpu", "overnight", "gpu"])
def test_own_rates_come_beside_figure_1_and_share_what_does_not_move(tier):
    budget = budgets.resolve("e2e/knob_own_rates", tier)
    table = pd.DataFrame({"method": [m.name for m in methods("e2e/knob_own_rates", tier)]})
    assert (
        keyed(methods(FIG01, tier)) < keyed(methods("e2e/knob_own_rates", tier)) and not table.method.duplicated().any()
    )
    ways = plans.by_rates(table, budget)
    assert ways[plans.SHARED].set_index("method").lr.to_dict() == dict.fromkeys(
        ("local", "e2e", "e2e+ds"), budget.local_lr
    )
    assert ways[plans.OWN].set_index("method").lr.to_dict() == {
        "local": budget.own_local_lr, "e2e": budget.own_e2e_lr, "e2e+ds": budget.own_ds_lr,
    }  # fmt: skip


def test_lengths_are_swept_apart(monkeypatch):
    seen = []

    def sweep(subject, site, together, seeds, data):
        seen.append([(m.name, m.training.tokens) for m in together])
        return SweepResult(pd.DataFrame({"method": [m.name for m in together]}), len(together))

    monkeypatch.setattr(plans, "sweep", sweep)
    result = plans.sweep_lengths(None, SITE, methods("e2e/fig17_samples", "smoke"), (0,), Data())
    assert [{tokens for _, tokens in together} for together in seen] == [{4096}, {8192}]
    assert result.trained == 6 and result.table.groupby("tokens").size().to_dict() == {4096: 3, 8192: 3}


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("e2e/fig04_layers", {"layers": [1, 7]}, "local_sparsities must have values for every layer"),
        ("e2e/fig04_layers", {"layers": [1]}, "layers at least two"),
        ("e2e/fig04_layers", {"downstream": {"1": 2.5, "3": 2.5}}, "ds_sparsities must have values"),
        ("e2e/fig17_samples", {"shares": [0.25, 0.5]}, "shares must be two or more and end at 1"),
        ("e2e/fig17_samples", {"shares": [0.001, 1.0]}, "shares must fill at least one batch"),
        ("e2e/fig16_width", {"widths": [32, 128]}, "widths must hold d_sae"),
        ("e2e/fig16_width", {"objective_names": ["e2e"]}, "objective_names must be local and e2e"),
        ("e2e/fig13_learning_rates", {"rates": [0.001, 0.002]}, "rates must be at least three"),
        ("e2e/knob_encoders", {"ks": [128]}, "ks must be at most d_sae"),
        ("e2e/knob_finetune", {"finetune_tokens": 100}, "finetune_tokens must be from one batch"),
        ("e2e/knob_own_rates", {"own_e2e_lr": 0.005}, "own rates must differ from the shared one, 0.005"),
        ("e2e/knob_own_rates", {"e2e_lr": 0.01}, "local_lr, e2e_lr and ds_lr must be one rate"),
    ],
)
def test_budget_that_cannot_be_compared_is_refused_in_one_line(name, asked, words):
    with pytest.raises(UserError, match=words):
        budgets.resolve(name, "smoke", **asked)
