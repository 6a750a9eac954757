"""A chapter's budget: the sidecar's values, what was asked for instead, and bounds for all of it."""

import pytest

from saebook.book import budgets
from saebook.common import sidecar
from saebook.common.errors import UserError

NAME = "gated/fig05_pareto"


def test_unset_parameters_take_the_tiers_value():
    budget = budgets.resolve(NAME, "smoke", seeds=None, layer=None)
    values = sidecar.load(NAME).values("smoke")
    assert {field: budget.plain()[field] for field in values} == values


def test_given_parameters_win():
    budget = budgets.resolve(NAME, "cpu", seeds=[5], layer=0, site="mlp_out", baseline_width=2, context=32, batch=64)
    assert (budget.seeds, budget.layer, budget.site, budget.baseline_width) == ((5,), 0, "mlp_out", 2.0)
    assert isinstance(budget.baseline_width, float) and (budget.context, budget.batch) == (32, 64)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"gated_sparsities": [-1.0]}, "gated_sparsities must be greater than 0"),
        ({"gated_lr": 0.0}, "gated_lr must be greater than 0"),
        ({"gated_lr": -0.5}, "gated_lr must be greater than 0"),
        ({"gated_lr": 1e10}, "gated_lr must be less than 1"),
        ({"gated_lr": float("inf")}, "gated_lr must"),
        ({"beta2": 1.0}, "beta2 must be less than 1"),
        ({"baseline_width": -0.5}, "baseline_width must be greater than 0"),
        ({"d_sae": 0}, "d_sae must be greater than 0"),
        ({"d_sae": 10**11}, "d_sae must be less than"),
        ({"tokens": 1}, "tokens must fill"),
        ({"layr": 3}, "unknown parameter 'layr'"),
    ],
)
def test_invalid_parameters_are_refused(asked, words):
    with pytest.raises(UserError, match=words):
        budgets.resolve(NAME, "cpu", **asked)


def test_rates_by_width_and_by_site_are_checked():
    with pytest.raises(UserError, match="relu_lr must map widths to rates"):
        budgets.resolve("topk/fig02_activations", "cpu", relu_lr={"wide": 0.1})
    with pytest.raises(UserError, match="gated_lr"):
        budgets.resolve("gated/fig12_sites", "cpu", gated_lr={"nowhere": 0.1})


def test_unknown_plan_is_named(tmp_path, monkeypatch):
    (tmp_path / "_config.yml").write_text("")
    (tmp_path / "notebooks" / "gated").mkdir(parents=True)
    (tmp_path / "notebooks" / "gated" / "fig99.yml").write_text("title: t\nplan: nonsense\n")
    monkeypatch.setenv("SAEBOOK_HOME", str(tmp_path))
    with pytest.raises(UserError, match="no plan 'nonsense': use one of against_baseline"):
        budgets.plan("gated/fig99")


@pytest.mark.parametrize("name", sidecar.names())
def test_every_budget_of_every_tier_fits_its_type(name):
    tiers = sidecar.load(name).tiers()
    assert tiers[:2] == ["smoke", "cpu"]
    for tier in tiers:
        budget = budgets.resolve(name, tier)
        assert set(sidecar.load(name).values(tier)) <= set(type(budget).model_fields)
        if tier != "smoke":
            assert len(getattr(budget, "seeds", (0, 1, 2))) >= 3
