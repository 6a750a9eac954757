"""Ratios by layer, and pairs of runs chosen by rule."""

import numpy as np
import pandas as pd
import pytest

from saebook.papers.e2e import comparison
from saebook.papers.e2e.variants import by_layer

SHARES = {1: 0.4, 2: 0.6, 3: 0.9}  # added loss of e2e over local at equal L0


def table(seeds=3):
    rows = [
        {
            "layer": layer, "method": method, "sparsity": 1 / l0, "seed": seed, "l0": l0 * (1.05 if method == "e2e" else 1),
            comparison.CE: (share if method == "e2e" else 1.0) * (1 + 0.01 * seed) * 10 / l0, comparison.ALIVE: 2 * l0,
        }
        for layer, share in SHARES.items()
        for method in ("local", "e2e")
        for l0 in (10.0, 20.0, 40.0)
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def e2e_over_local(group):
    return comparison.mean_ratios(group, "e2e", "local", comparison.CE, "l0")


def test_worst_layer_of_each_seed_is_taken():
    ratios = by_layer.ratios(table(), e2e_over_local)
    assert list(ratios.columns) == [1, 2, 3] and list(ratios.index) == [0, 1, 2]
    assert by_layer.largest(ratios) == ratios[3].tolist()
    assert by_layer.geometric_mean(ratios) == pytest.approx(np.exp(np.log(ratios).mean(axis=1)).tolist())


def test_layer_without_a_value_leaves_its_seed_without_one():
    ratios = by_layer.ratios(table(), e2e_over_local)
    ratios.loc[1, 2] = np.nan
    assert np.isnan(by_layer.largest(ratios)[1]) and np.isnan(by_layer.geometric_mean(ratios)[1])
    assert np.isfinite(by_layer.largest(ratios)[0])


def test_pair_of_nearest_l0_is_chosen_and_its_ratio_read():
    runs = table()
    runs.loc[(runs.method == "e2e") & (runs.l0 == 21.0), "l0"] = 20.1
    pairs = by_layer.pairs_of_similar_l0(runs, "e2e", "local")
    assert len(pairs) == 9 and set(pairs["L0 e2e"]) == {20.1} and set(pairs["L0 local"]) == {20.0}
    assert pairs.groupby("layer").ratio.mean().to_dict() == pytest.approx(SHARES)
    assert by_layer.ratio_of_pairs(runs, "e2e", "local") == pytest.approx([np.prod([*SHARES.values()]) ** (1 / 3)] * 3)


def test_layers_without_a_method_are_left_out_and_similar_loss_is_read_per_layer():
    runs = table()
    runs = runs[~((runs.layer == 3) & (runs.method == "e2e"))]
    assert set(by_layer.with_method(runs, "e2e").layer) == {1, 2}
    similar = by_layer.similar_loss(table()).set_index(["layer", "method"])
    for layer, share in SHARES.items():
        l0 = similar.l0[layer]
        assert l0["e2e"] / l0["local"] == pytest.approx(1.05 * share, rel=1e-6)
