"""Slopes of alive elements and drifts of L0 on curves that are known."""

import numpy as np
import pandas as pd
import pytest

from saebook.papers.e2e.comparison import ALIVE
from saebook.papers.e2e.variants import rate_effects

RATES = (0.001, 0.002, 0.004)
STEPS = np.arange(0, 1001, 20)


def test_planted_slope_of_alive_elements_is_read_back_per_objective_and_averaged():
    table = pd.DataFrame(
        {"method": method, "sparsity": lam, "seed": seed, "lr": lr, ALIVE: 100 * lr**slope}
        for method, slope in (("local", -0.4), ("e2e", -0.2))
        for lam in (1.0, 2.0)
        for seed in range(2)
        for lr in RATES
    )
    slopes = rate_effects.alive_slopes(table)
    assert slopes[slopes.method == "local"].slope.to_numpy() == pytest.approx(-0.4)
    assert rate_effects.over_objectives(slopes) == pytest.approx([-0.3, -0.3])


def test_l0_is_averaged_near_a_point_and_interpolated_where_nothing_is_near():
    line = 10 + STEPS / 100
    assert rate_effects.l0_at(STEPS, line, 1.0) == pytest.approx(10 + 9.75, abs=0.06)
    assert rate_effects.l0_at(STEPS, line, 1 / 3) == pytest.approx(10 + 10 / 3, abs=0.11)
    ends = np.array([0.0, 15.0])
    assert rate_effects.l0_at(ends, np.array([30.0, 0.0]), 1 / 3) == pytest.approx(20.0)


def history(drift_per_log_rate):
    """L0 that from a third of the run on rises linearly, the more the higher the rate."""
    parts = []
    for lr in RATES:
        end = 1 + drift_per_log_rate * np.log(lr / RATES[0])
        l0 = 50 * np.interp(STEPS, [0, 400, 900, 1000], [1, 1, end, end])
        parts.append(pd.DataFrame({"method": "e2e", "sparsity": 1.0, "seed": 0, "lr": lr, "step": STEPS, "l0": l0}))
    return parts


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_planted_drift_of_l0_is_read_back(slope):
    drifts = pd.concat(
        [rate_effects.drifts(part).assign(lr=lr) for lr, part in zip(RATES, history(slope), strict=True)]
    )
    (read,) = rate_effects.drift_slopes(drifts).slope
    assert read == pytest.approx(slope, abs=0.005)
