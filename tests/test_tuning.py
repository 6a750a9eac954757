"""The budgets hold the rates that the recorded grid chose, and the rule chooses as it says."""

import numpy as np
import pandas as pd
import pytest

from saebook import results, tiers, tuning


def grid(factors):
    """SAEs of two kinds whose L0 at equal quality is `factors[method][rate]` times a common curve."""
    quality = np.linspace(0.5, 0.95, 5)
    rows = [
        {"method": method, "lr": rate, "seed": seed, "l0": factor * np.exp(4 * q), "loss_recovered": q}
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
    assert scored.set_index(["method", "lr"]).l0_ratio["gated", 1e-3] == pytest.approx(1.4)


def test_a_rate_that_reaches_no_common_quality_is_not_chosen():
    table = grid({"gated": {1e-3: 1.4, 3e-3: 1.0, 1e-2: 0.1}})
    table.loc[table.lr == 1e-2, "loss_recovered"] -= 0.9
    assert tuning.chosen(tuning.scores(table)) == {"gated": 3e-3}


@pytest.mark.parametrize("tier", ["cpu", "gpu"])
def test_the_budget_holds_what_the_record_chose(tier):
    recorded = results.read("gated.tuning_fig05_pareto", tier)
    if recorded is None:
        pytest.skip(f"no tuning is recorded at tier {tier}")
    budget = tiers.resolve("gated.fig05_pareto", tier)
    assert {"gated": budget.gated_lr, "relu": budget.baseline_lr} == recorded["findings"]["chosen"]
    # The grid was run at this very budget, rates and seeds apart, on seeds that appear in no result.
    same = set(vars(budget)) - {"gated_lr", "baseline_lr", "seeds", "eval_rows"}
    assert {k: recorded["parameters"][k] for k in same} == {k: vars(budget)[k] for k in same}
    assert not set(recorded["findings"]["seeds"]) & set(budget.seeds)
