"""One method against another for every pair of seeds, and what a seed alone changes."""

import numpy as np
import pandas as pd
import pytest

from saebook.papers.e2e.comparison import ALIVE, CE, mean_ratios
from saebook.papers.e2e.variants import seed_pairs

LOCAL, E2E = (1.0, 1.2, 0.9), (0.5, 0.6, 0.55)  # added loss of each seed


def table():
    rows = [
        {"method": method, "seed": seed, "sparsity": lam, "l0": 40 / lam, CE: share * lam, ALIVE: 100 + seed}
        for method, shares in (("local", LOCAL), ("e2e", E2E))
        for seed, share in enumerate(shares)
        for lam in (1.0, 2.0, 4.0)
    ]
    return pd.DataFrame(rows)


def test_every_pair_is_compared_and_the_diagonal_is_that_of_figure_1():
    pairs = seed_pairs.pair_ratios(table(), "e2e", "local")
    assert pairs.to_numpy() == pytest.approx(np.outer(E2E, 1 / np.array(LOCAL)))
    assert np.diag(pairs) == pytest.approx(mean_ratios(table(), "e2e", "local", CE, "l0"))
    assert seed_pairs.least_favourable(pairs) == pytest.approx([share / min(LOCAL) for share in E2E])


def test_spread_over_seeds_is_relative():
    spreads = seed_pairs.spreads(table())
    assert spreads.loc["local", CE] == pytest.approx(np.std(LOCAL, ddof=1) / np.mean(LOCAL))
    assert spreads.loc["e2e", "l0"] == 0.0


def test_gap_is_about_one_where_methods_differ_as_seeds_do():
    same = pd.concat([table().query("method == 'local'"), table().query("method == 'local'").assign(method="e2e")])
    pairs = seed_pairs.pair_ratios(same, "e2e", "local")
    between = [LOCAL[0] / LOCAL[1], LOCAL[0] / LOCAL[2], LOCAL[1] / LOCAL[2]]
    assert seed_pairs.gap_in_spreads(pairs, between) == pytest.approx(0.0, abs=1e-9)
    assert seed_pairs.gap_in_spreads(seed_pairs.pair_ratios(table(), "e2e", "local"), between) > 2.5
