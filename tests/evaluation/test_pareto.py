"""Comparisons of sweeps at equal quality read known factors."""

import math

import numpy as np
import pandas as pd
import pytest

from saebook.evaluation import pareto
from saebook.evaluation.pareto import matched_ratio, value_at


def test_spread_is_the_typical_and_largest_factor_between_seeds():
    spread = pareto.spread([1.1, 1 / 1.2, math.nan, 1.0])
    assert (spread.pairs, spread.most) == (3, pytest.approx(1.2))
    assert spread.typical == pytest.approx((1.1 * 1.2) ** (1 / 3))
    # The mean in one direction is one round any ring; factors are not.
    ring = [a / b for a, b in ((1.0, 2.0), (2.0, 3.0), (3.0, 1.0))]
    assert pareto.log_interval(ring).mean == pytest.approx(1.0) and pareto.spread(ring).typical > 1.5
    assert "at most 3.000 (3 pairs" in str(pareto.spread(ring)) and "compared" in str(pareto.spread([math.nan]))


def test_matched_ratio_interpolates_in_log_log_space():
    l0 = np.array([4.0, 10.0, 30.0, 80.0])
    plain = pd.DataFrame({"l0": l0, "nmse": 3.0 * l0**-0.5})
    better = pd.DataFrame({"l0": 1.7 * l0, "nmse": 0.6 * 3.0 * (1.7 * l0) ** -0.5})
    assert matched_ratio(better, plain, "nmse") == pytest.approx(0.6)
    assert matched_ratio(plain, plain.sample(frac=1, random_state=0), "nmse") == pytest.approx(1.0)
    assert value_at(plain, "nmse", 20.0) == pytest.approx(3.0 * 20**-0.5)
    assert np.isnan(value_at(plain, "nmse", 200.0))
    assert np.isnan(matched_ratio(plain, plain.assign(l0=1000 * l0), "nmse"))
    without = plain.assign(nmse=-plain.nmse)  # nothing that a logarithm could be taken of
    assert np.isnan(matched_ratio(without, plain, "nmse")) and np.isnan(value_at(without, "nmse", 20.0))


def test_ce_increase_is_the_difference_to_the_unchanged_subject():
    table = pareto.with_increase(pd.DataFrame({"ce": [3.5, 4.0], "ce_clean": [3.0, 3.0]}))
    assert table[pareto.CE_INCREASE].tolist() == [0.5, 1.0]


def test_log_interval_is_symmetric_in_ratios():
    interval = pareto.log_interval([0.5, 0.4, 0.625])
    assert interval.mean == pytest.approx(0.5)
    assert interval.high / interval.mean == pytest.approx(interval.mean / interval.low)
    assert pareto.log_interval([float("nan"), 0.5]).n == 1
    assert pareto.log_interval([]).n == 0


def test_published_rows_give_the_ratio_of_the_abstract():
    from saebook.claims import results

    ratios = pareto.published_ratios(results.published("gated_tables_1_to_8"))
    assert len(ratios) == 27 and ratios.ratio.notna().sum() >= 20
    assert 0.2 < ratios.ratio.median() < 0.6


def test_share_of_gap_is_read_at_levels_that_all_three_reach():
    quality = np.linspace(0.5, 0.95, 6)
    levels = {"top": quality + 0.04, "middle": quality, "bottom": quality - 0.04}
    bend = {"top": 0.0, "middle": 0.6, "bottom": 0.8}
    rows = [
        {"method": name, "seed": seed, "l0": math.exp(4 * q + bend[name] + 0.01 * seed), "loss_recovered": q}
        for name, reached in levels.items()
        for q in reached
        for seed in range(3)
    ]
    shares = pareto.share_of_gap(pd.DataFrame(rows), "top", "middle", "bottom")
    assert shares.mean == pytest.approx(0.25) and shares.n == 3 and shares.high - shares.low < 1e-6
    apart = [row | {"loss_recovered": row["loss_recovered"] - (row["method"] == "middle")} for row in rows]
    assert math.isnan(pareto.share_of_gap(pd.DataFrame(apart), "top", "middle", "bottom").mean)
