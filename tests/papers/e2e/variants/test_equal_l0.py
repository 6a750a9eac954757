"""Sizes compared at equal L0 on laws that are known."""

import math

import numpy as np
import pandas as pd
import pytest

from saebook.papers.e2e.comparison import ALIVE, CE
from saebook.papers.e2e.variants import equal_l0

EXPONENTS = {"local": 0.0, "e2e": -0.3}
SIZES = (100, 200, 400)


def table(seeds=2, shift=0.0):
    """Added loss that is a power of the size, over L0; with `shift`, larger sizes have another L0 at the same lambda."""
    rows = [
        {
            "method": method, "seed": seed, "tokens": size, "sparsity": lam, "l0": l0, CE: size**exponent * (1 + seed) / l0,
            ALIVE: l0 * size,
        }
        for method, exponent in EXPONENTS.items()
        for size in SIZES
        for lam in (1.0, 2.0, 4.0)
        for l0 in [80 / lam * size**shift]
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_planted_slope_is_read_back_though_l0_moves(shift):
    for method, exponent in EXPONENTS.items():
        slopes = equal_l0.slopes(table(shift=shift), "tokens", method)
        assert slopes == pytest.approx([exponent] * 2, abs=1e-6)


def test_changes_from_size_to_size_and_their_last_difference():
    changes = equal_l0.changes(table(), "tokens", "e2e")
    assert list(changes.columns) == [200, 400] and changes.to_numpy() == pytest.approx(-0.3 * math.log(2))
    late = equal_l0.late_differences(table(), "tokens", "e2e", "local")
    assert late == pytest.approx([-0.3 * math.log(2)] * 2)


def test_values_are_read_at_an_l0_that_every_sweep_reaches_and_nowhere_else():
    runs = table(shift=0.2)
    level = equal_l0.common_l0(runs, "tokens")
    at = equal_l0.at_l0(runs, "tokens", level)
    assert at[CE].notna().all() and len(at) == 12
    first = at[(at.method == "local") & (at.seed == 0)]
    assert first[CE].to_numpy() == pytest.approx(1 / level)
    assert np.isnan(equal_l0.at_l0(runs, "tokens", 1e4)[CE]).all()


def test_sizes_that_do_not_meet_have_no_change():
    assert equal_l0.changes(table(shift=3.0), "tokens", "e2e").isna().all(axis=None)
    assert np.isnan(equal_l0.slopes(table(shift=3.0), "tokens", "e2e")).all()
    assert equal_l0.common_l0(table(shift=3.0), "tokens") == table(shift=3.0).l0.median()


def test_two_methods_are_compared_seed_by_seed_where_both_have_one():
    runs = table(seeds=3)
    one, other = runs[(runs.tokens == 400) & (runs.seed > 0)], runs[(runs.tokens == 100) & (runs.seed < 2)]
    assert equal_l0.between(one[one.method == "e2e"], other[other.method == "e2e"]) == pytest.approx([4**-0.3])
    assert equal_l0.between(one, one.assign(seed=9)) == []
