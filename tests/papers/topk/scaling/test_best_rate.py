"""Best rates are read between the rates of a grid, and never beyond it."""

import math

import numpy as np
import pandas as pd
import pytest

from saebook.common.errors import UserError
from saebook.papers.topk.scaling import best_rate

RATES = [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2]


def table(slope=-0.5, at_128=6e-3, seeds=3, noise=0.0):
    rng = np.random.default_rng(0)
    rows = [
        {
            "d_sae": width, "seed": seed, "lr": lr,
            "normalised_mse": (0.2 + 0.02 * np.log(lr / (at_128 * (width / 128) ** slope)) ** 2) * np.exp(noise * rng.normal()),
        }
        for width in (128, 256, 512, 1024)
        for seed in range(seeds)
        for lr in RATES
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_planted_minimum_is_read_between_two_rates():
    planted = 3e-3
    rate, place = best_rate.best_rate(RATES[::-1], [math.exp(0.1 * math.log(r / planted) ** 2) for r in RATES[::-1]])
    assert rate == pytest.approx(planted) and place == best_rate.INSIDE


def test_planted_exponent_is_read_back_and_a_flat_one_is_not_mistaken_for_it():
    for slope in (-0.5, 0.0):
        best = best_rate.by_width(table(slope, at_128=5e-3, noise=0.0005))
        assert best_rate.exponents(best) == pytest.approx([slope] * 3, abs=0.06)


def test_best_rate_at_the_end_of_the_grid_says_so_and_gives_no_slope():
    best = best_rate.by_width(table(at_128=0.1, slope=-0.2))
    assert set(best.place) == {best_rate.HIGHEST} and set(best.rate) == {RATES[-1]}
    assert all(map(math.isnan, best_rate.exponents(best)))
    low, place = best_rate.best_rate(RATES, [1, 2, 3, 4, 5])
    assert (low, place) == (RATES[0], best_rate.LOWEST)


def test_carried_over_rate_costs_what_the_curve_says():
    runs = table(slope=-0.5)
    best = best_rate.by_width(runs)
    costs = best_rate.carried_over(runs, best, {"right": -0.5, "none": 0.0, "off": -3.0, "unknown": math.nan})
    assert costs["right"] < 1.02 < costs["none"] and math.isnan(costs["off"]) and math.isnan(costs["unknown"])


@pytest.mark.parametrize(("rates", "errors"), [([1e-3, 2e-3], [1, 2]), ([1e-3, 2e-3, 4e-3], [0.1, -0.1, 0.1])])
def test_too_few_rates_or_errors_below_zero_are_refused(rates, errors):
    with pytest.raises(UserError, match="three or more rates, all of them positive"):
        best_rate.best_rate(rates, errors)
