"""Budgets: written once, resolved with what was asked for, refused in one line."""

import pytest

from saebook.book import budgets
from saebook.common.errors import UserError

NOTEBOOK = "gated.fig05_pareto"


def test_unset_parameters_take_the_tiers_value():
    budget = budgets.resolve(NOTEBOOK, "smoke", seeds=[], layer=-1, site="", d_sae=-1, baseline_width=-1.0)
    assert vars(budget) == {"tier": "smoke", **budgets.load("smoke")[NOTEBOOK]}


def test_what_is_asked_for_wins():
    budget = budgets.resolve(NOTEBOOK, "cpu", seeds=[5], layer=0, site="mlp_out", baseline_width=2)
    assert (budget.seeds, budget.layer, budget.site, budget.baseline_width) == ([5], 0, "mlp_out", 2.0)
    assert isinstance(budget.baseline_width, float)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"seeds": "abc"}, "seeds takes a list"),
        ({"seeds": [0, 0]}, "twice"),
        ({"seeds": [0.5]}, "takes int"),
        ({"layer": "two"}, "layer takes int"),
        ({"layer": -2}, "negative"),
        ({"tokens": True}, "tokens takes int"),
        ({"layr": 3}, "no budget entry 'layr'"),
    ],
)
def test_what_cannot_be_used_is_refused(asked, word):
    with pytest.raises(UserError, match=word):
        budgets.resolve(NOTEBOOK, "cpu", **asked)


def test_unknown_tiers_and_notebooks():
    with pytest.raises(UserError, match="tier 'huge'"):
        budgets.resolve(NOTEBOOK, "huge")
    with pytest.raises(UserError, match=r"no budget for gated\.fig99"):
        budgets.resolve("gated.fig99", "cpu")


@pytest.mark.parametrize("tier", budgets.TIERS)
def test_every_notebook_runs_at_smoke_and_every_budget_has_a_notebook(tier):
    from saebook.common import paths

    notebooks = {f"{p.parent.name}.{p.stem}" for p in (paths.root() / "notebooks").glob("*/*.ipynb")}
    assert set(budgets.load(tier)) <= notebooks == set(budgets.load("smoke"))


def test_tiers_above_smoke_have_three_seeds():
    for entry in budgets.load("cpu").values():
        assert len(entry.get("seeds", [0, 0, 0])) >= 3
