"""The budgets hold the rates that the recorded grid chose, and the rule chooses as it says."""

import numpy as np
import pandas as pd
import pytest

from saebook.book import budgets
from saebook.claims import results
from saebook.papers import plans
from saebook.training import tuning


def grid(factors):
    """SAEs of two kinds whose L0 at equal quality is `factors[method][rate]` times a common curve."""
    quality = np.linspace(0.5, 0.95, 5)
    rows = [
        {
            "method": method,
            "lr": rate,
            "seed": seed,
            "sparsity": 1 - q,
            "l0": factor * np.exp(4 * q),
            "loss_recovered": q,
        }
        for method, by_rate in factors.items()
        for rate, factor in by_rate.items()
        for seed in (101, 102)
        for q in quality
    ]
    return pd.DataFrame(rows)


def test_the_rate_that_needs_the_fewest_features_wins_for_each_kind():
    table = grid({"gated": {1e-3: 1.4, 3e-3: 1.0, 1e-2: 2.0}, "relu": {1e-3: 2.0, 3e-3: 1.0, 1e-2: 0.8}})
    scored = tuning.scores(table)
    assert tuning.chosen(scored) == {"gated": 3e-3, "relu": 1e-2}
    assert scored.set_index(["method", "lr"]).cost["gated", 1e-3] == pytest.approx(1.4)


def test_a_rate_that_reaches_no_common_quality_is_not_chosen():
    table = grid({"gated": {1e-3: 1.4, 3e-3: 1.0, 1e-2: 0.1}})
    table.loc[table.lr == 1e-2, "loss_recovered"] -= 0.9
    assert tuning.chosen(tuning.scores(table)) == {"gated": 3e-3}


@pytest.mark.parametrize("by_k", [False, True])
def test_a_rate_at_which_an_sae_collapses_is_not_chosen(by_k):
    table = grid({"gated": {1e-3: 1.4, 3e-3: 1.0, 1e-2: 0.5}})
    loosest = (table.lr == 1e-2) & (table.seed == 102) & (table.loss_recovered == table.loss_recovered.max())
    if by_k:
        table["sparsity"] = table.l0
    assert tuning.chosen(tuning.scores(table)) == {"gated": 1e-2}
    table.loc[loosest, ["l0", "loss_recovered"]] = 4.0, 0.45  # few features, a bad loss: the curve hides it
    scored = tuning.scores(table)
    assert scored[scored.lr == 1e-2].cost.item() < 1 and scored.collapsed.tolist() == [0, 0, 1]
    assert tuning.chosen(scored) == {"gated": 3e-3}
    luck = pd.concat([table, table[table.lr == 3e-3].assign(lr=8e-2, l0=lambda t: 0.1 * t.l0)])
    assert tuning.chosen(tuning.scores(luck)) == {"gated": 3e-3}  # above a rate that breaks, two good seeds are luck
    everywhere = table[table.lr == 1e-2]
    assert tuning.chosen(tuning.scores(pd.concat([everywhere, everywhere.assign(lr=2e-2)]))) == {"gated": 1e-2}


@pytest.mark.parametrize("tier", ["cpu", "gpu"])
@pytest.mark.parametrize(
    "notebook",
    [
        "gated.fig05_pareto",
        "gated.fig08_ablations",
        "gated.fig09_rescale_shift",
        "topk.fig02_activations",
        "e2e.fig01_pareto",
    ],
)
def test_the_budget_holds_what_the_record_chose(notebook, tier):
    paper, name = notebook.split(".")
    recorded = results.read(f"{paper}.tuning_{name}", tier)
    if recorded is None:
        pytest.skip(f"no tuning of {notebook} is recorded at tier {tier}")
    budget = budgets.resolve(notebook, tier)
    held = {m.name: m.training.lr for m in tuning.to_tune(notebook, budget)}
    assert held == recorded["findings"]["chosen"]
    # The grid was run at this very budget, rates and seeds apart, on seeds that appear in no result.
    same = {name for name in vars(budget) if not name.endswith("_lr")} - {"seeds", "eval_rows"}
    assert {k: recorded["parameters"][k] for k in same} == {k: vars(budget)[k] for k in same}
    assert not set(recorded["findings"]["seeds"]) & set(budget.seeds)
    table = pd.read_csv(results.folder(tier) / paper / f"tuning_{name}.csv")
    assert tuning.chosen(tuning.scores(table, tuning.RULES[paper])) == recorded["findings"]["chosen"]


def test_every_kind_is_tuned_at_every_width_with_all_its_sparsities():
    methods = plans.PLANS["topk.fig02_activations"](budgets.resolve("topk.fig02_activations", "gpu"))
    found = tuning.tuned(methods)
    assert len({m.name for m in found}) == len(methods) == 15
    assert [(m.architecture, m.d_sae, m.sparsities) for m in found] == [
        (m.architecture, m.d_sae, m.sparsities) for m in methods
    ]
    one = plans.PLANS["gated.fig05_pareto"](budgets.resolve("gated.fig05_pareto", "cpu"))
    assert [m.name for m in tuning.tuned(one)] == ["gated", "relu"]


def test_kinds_that_another_notebook_tunes_are_not_tuned_again():
    budget = budgets.resolve("gated.fig08_ablations", "gpu")
    found = {m.name for m in tuning.to_tune("gated.fig08_ablations", budget)}
    assert found == {"gated_unfrozen", "gated_no_r_mag", "gated_untied"}
    # At other sparsities than there, the full recipe is tuned with its variants.
    budget.gated_sparsities = budget.gated_sparsities[:2]
    found = {m.name for m in tuning.to_tune("gated.fig08_ablations", budget)}
    assert found == {"gated", "gated_unfrozen", "gated_no_r_mag", "gated_untied"}


def test_a_width_without_a_rate_takes_the_nearest_ones_by_the_square_root():
    rates = {"256": 0.04, "1024": 0.01}
    assert plans.rate_at(rates, 256) == 0.04 and plans.rate_at(rates, 1024) == 0.01
    assert plans.rate_at(rates, 4096) == pytest.approx(0.005) and plans.rate_at(rates, 64) == pytest.approx(0.08)


def dead_grid(shares):
    rows = [
        {"d_sae": d, "sparsity": float(k), "lr": lr, "seed": seed, "normalised_mse": nmse, "dead": share + 0.01 * seed}
        for (d, k, lr), (nmse, share) in shares.items()
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_where_latents_die_is_chosen_by_rule():
    shares = {
        (64, 8, 0.1): (0.2, 0.0), (64, 8, 0.3): (0.3, 0.9), (128, 8, 0.1): (0.2, 0.4), (128, 16, 0.1): (0.2, 0.3),
        (256, 8, 0.1): (0.1, 0.6),
    }  # fmt: skip
    assert tuning.deadly(dead_grid(shares)) == {"d_sae": 128, "k": 16, "lr": 0.1}  # a bad rate's dead do not count
    few = {key: (nmse, share / 20) for key, (nmse, share) in shares.items()}
    assert tuning.deadly(dead_grid(few)) == {"d_sae": 256, "k": 8, "lr": 0.1}


@pytest.mark.parametrize("tier", ["cpu", "gpu"])
def test_the_budget_of_dead_latents_is_what_the_record_chose(tier):
    recorded = results.read("topk.tuning_fig15_dead_latents", tier)
    if recorded is None:
        pytest.skip(f"no grid of dead latents is recorded at tier {tier}")
    budget = budgets.resolve("topk.fig15_dead_latents", tier)
    assert {k: vars(budget)[k] for k in ("d_sae", "k", "lr")} == recorded["findings"]["chosen"]
    table = pd.read_csv(results.folder(tier) / "topk" / "tuning_fig15_dead_latents.csv")
    assert tuning.deadly(table) == recorded["findings"]["chosen"] and not set(table.seed) & set(budget.seeds)
