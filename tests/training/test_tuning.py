"""The rule chooses the rate that it says, and never one at which an SAE collapses."""

import numpy as np
import pandas as pd
import pytest

from saebook.training import tuning
from saebook.training.config import TrainConfig
from saebook.training.sweep import Method


def grid(factors):
    """SAEs of several methods whose L0 at equal quality is `factors[method][rate]` times a common curve."""
    quality = np.linspace(0.5, 0.95, 5)
    rows = [
        {
            "method": method,
            "lr": rate,
            "seed": seed,
            "sparsity": 1 - q,
            "l0": factor * np.exp(4 * q),
            "loss_recovered": q,
            "alive": 1.0,
        }
        for method, by_rate in factors.items()
        for rate, factor in by_rate.items()
        for seed in (101, 102)
        for q in quality
    ]
    return pd.DataFrame(rows)


def test_rate_that_needs_the_fewest_features_wins_for_each_architecture():
    table = grid({"gated": {1e-3: 1.4, 3e-3: 1.0, 1e-2: 2.0}, "relu": {1e-3: 2.0, 3e-3: 1.0, 1e-2: 0.8}})
    scored = tuning.scores(table)
    assert tuning.chosen(scored) == {"gated": 3e-3, "relu": 1e-2}
    assert scored.set_index(["method", "lr"]).cost["gated", 1e-3] == pytest.approx(1.4)


def test_rate_without_common_quality_is_not_chosen():
    table = grid({"gated": {1e-3: 1.4, 3e-3: 1.0, 1e-2: 0.1}})
    table.loc[table.lr == 1e-2, "loss_recovered"] -= 0.9
    assert tuning.chosen(tuning.scores(table)) == {"gated": 3e-3}


@pytest.mark.parametrize("by_k", [False, True])
def test_rate_with_a_collapsed_sae_is_not_chosen(by_k):
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
    assert tuning.chosen(tuning.scores(luck)) == {
        "gated": 3e-3
    }  # above a rate that breaks one, two good seeds are luck
    everywhere = table[table.lr == 1e-2]
    assert tuning.chosen(tuning.scores(pd.concat([everywhere, everywhere.assign(lr=2e-2)]))) == {"gated": 1e-2}


def method(architecture, width, sparsities=(0.1, 1.0)):
    return Method(architecture, width, sparsities, TrainConfig(lr=1e-3, tokens=512, batch=256))


def test_every_architecture_is_tuned_at_every_width_with_all_its_sparsities():
    methods = [method(architecture, width) for architecture in ("relu", "topk") for width in (64, 128)]
    tuned = tuning.tuned(methods)
    assert [m.name for m in tuned] == ["relu at 64", "relu at 128", "topk at 64", "topk at 128"]
    assert [(m.architecture, m.d_sae, m.sparsities) for m in tuned] == [
        (m.architecture, m.d_sae, m.sparsities) for m in methods
    ]
    assert [m.name for m in tuning.tuned(methods[1:3])] == ["relu", "topk"]


def test_methods_that_another_chapter_tunes_are_not_tuned_again():
    settled = [method("gated", 64), method("relu", 96)]
    assert [m.name for m in tuning.to_tune([*settled, method("gated_untied", 64)], settled)] == ["gated_untied"]
    # At other sparsities than there, the full recipe is tuned with its variants.
    other = [method("gated", 64, (0.1,)), method("gated_untied", 64)]
    assert [m.name for m in tuning.to_tune(other, settled)] == ["gated", "gated_untied"]


def test_rate_at_which_latents_die_is_not_chosen_at_the_sparsest_point_either():
    table = grid({"gated": {1e-3: 1.4, 3e-3: 1.0, 1e-2: 0.5}})
    sparsest = table.sparsity == table.sparsity.max()
    table.loc[sparsest & (table.lr == 1e-2), "alive"] = 0.6
    assert tuning.chosen(tuning.scores(table)) == {"gated": 1e-2}
    table.loc[sparsest & (table.lr == 1e-2), "alive"] = 0.4  # the other sparsities keep all of theirs
    scored = tuning.scores(table)
    assert scored.dying.tolist() == [0, 0, 1] and scored.collapsed.sum() == 0
    assert tuning.chosen(scored) == {"gated": 3e-3}


def test_sparsest_sae_that_is_worse_than_zeros_has_collapsed():
    table = grid({"gated": {1e-3: 1.4, 3e-3: 1.0}})
    table.loc[(table.sparsity == table.sparsity.max()) & (table.lr == 3e-3), "loss_recovered"] = -0.1
    assert tuning.chosen(tuning.scores(table)) == {"gated": 1e-3}


def test_one_rate_for_all_is_the_cheapest_at_which_no_method_loses_anything():
    table = grid({"e2e": {1e-3: 1.4, 3e-3: 1.0, 1e-2: 0.5}, "local": {1e-3: 1.6, 3e-3: 1.0, 1e-2: 0.4}})
    shared = tuning.Tuner(one_rate=True)
    assert shared.chosen(tuning.scores(table)) == {"e2e": 1e-2, "local": 1e-2}
    table.loc[(table.method == "local") & (table.lr == 1e-2), "alive"] = 0.1
    assert shared.chosen(tuning.scores(table)) == {"e2e": 3e-3, "local": 3e-3}
    assert tuning.Tuner().chosen(tuning.scores(table)) == {"e2e": 1e-2, "local": 3e-3}
