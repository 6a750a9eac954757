"""Runs of several objectives read off at one level, or picked near it."""

import numpy as np
import pandas as pd
import pytest

from saebook.papers.e2e.comparison import ALIVE, CE
from saebook.papers.e2e.measured import picking


def sweeps(seeds=2):
    """One quantity, a + log(added loss): a is 1 for local and -2 for e2e, and each seed adds a tenth."""
    rows = [
        {
            "method": method, "seed": seed, "sparsity": 1 / ce, CE: ce, "l0": 10 * factor / ce, ALIVE: 5,
            "value": a + np.log(ce) + 0.1 * seed,
        }
        for method, a, factor in (("local", 1.0, 1.0), ("e2e", -2.0, 0.5))
        for seed in range(seeds)
        for ce in ((0.1, 0.5, 2.0) if method == "local" else (0.2, 0.4, 0.9))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_negative_values_are_read_off_between_runs_and_never_beyond_them():
    at = picking.at_level(sweeps(), ["value"], 0.3).set_index(["method", "seed"]).value
    assert at["local", 0] == pytest.approx(1 + np.log(0.3)) and at["e2e", 1] == pytest.approx(-1.9 + np.log(0.3))
    beyond = picking.at_level(sweeps(), ["value"], 1.5).set_index("method").value
    assert beyond["e2e"].isna().all() and beyond["local"].notna().all()
    free = sweeps()
    free.loc[free.method == "e2e", picking.CE] *= -1  # its SAEs cost the model nothing
    kept = picking.at_level(free, ["value"], 0.3)
    assert len(kept) == len(at) and kept.set_index("method").value.isna()["e2e"].all()
    by = pd.concat([sweeps().assign(position=p, value=p) for p in (1, 2)])
    assert picking.at_level(by, ["value"], 0.3, by=["position"]).groupby("position").value.mean().tolist() == [1, 2]


def test_runs_nearest_to_a_level_come_with_all_their_lines():
    lines = pd.concat([sweeps().assign(position=p) for p in ("a", "b")])
    near = picking.picked(lines, 0.45)
    assert (
        len(near) == 8
        and set(near[near.method == "local"][CE]) == {0.5}
        and set(near[near.method == "e2e"][CE]) == {0.4}
    )
    assert set(picking.picked(lines, 12.0, "l0").query("method == 'e2e'")[CE]) == {0.4}
    # Every sweep reaches L0 from 20 (local 5 to 100, e2e 5.6 to 25): the geometric middle of what both cover.
    assert picking.common_l0(sweeps()) == pytest.approx((5 / 0.9 * 25) ** 0.5)


def test_steps_of_an_order_have_an_interval_each_at_a_joint_level():
    made = picking.contrasts(sweeps(3), "value", {"first": ("local", "e2e"), "second": ("e2e", "local")})
    assert made["first"].n == 3 and made["first"].mean == pytest.approx(-made["second"].mean)
    alone = picking.contrasts(sweeps(3), "value", {"first": ("local", "e2e")})["first"]
    assert alone.mean == made["first"].mean > 0 and list(picking.ORDER.values())[1] == ("e2e+ds", "e2e")
    varied = sweeps(3).assign(value=lambda t: t.value * (1 + t.seed * (t.method == "local")))
    wide, narrow = (
        picking.contrasts(varied, "value", s)["a"]
        for s in ({"a": ("local", "e2e"), "b": ("e2e", "local")}, {"a": ("local", "e2e")})
    )
    assert wide.high - wide.low > narrow.high - narrow.low > 0


def test_control_is_the_largest_difference_between_two_seeds():
    assert picking.between_seeds(sweeps(3), "value") == pytest.approx(0.2)
    assert np.isnan(picking.between_seeds(sweeps(1), "value"))
    assert picking.in_words(0.123456) == "0.1235" and "no two seeds" in picking.in_words(np.nan)


def test_slope_is_read_within_methods_and_not_between_them():
    runs = pd.DataFrame(
        [
            {"method": method, "seed": seed, "alive": alive, "value": level - (0.2 + seed) * np.log(alive)}
            for method, level in (("local", 0.0), ("e2e", 50.0))  # fewer alive, and far above: no part of the slope
            for seed in (0, 1)
            for alive in ((100, 200, 400) if method == "local" else (10, 20, 40))
        ]
    )
    assert picking.slopes_within(runs, "value", "alive") == pytest.approx([-0.2, -1.2])
    missing = runs.assign(value=runs.value.where(runs.alive != 40))
    assert picking.slopes_within(missing, "value", "alive") == pytest.approx([-0.2, -1.2])
    assert np.isnan(picking.slopes_within(runs.assign(alive=5), "value", "alive")).all()
