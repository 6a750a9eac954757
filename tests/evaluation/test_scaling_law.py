"""Scaling laws are read back from errors made by them, with intervals that hold what was planted."""

import math

import numpy as np
import pytest

from saebook.claims import results
from saebook.common.errors import UserError
from saebook.evaluation import scaling_law
from saebook.evaluation.scaling_law import JointLaw, PowerLaw

LAW = JointLaw(alpha=-0.5, beta_k=0.26, beta_n=-0.017, gamma=-0.042, zeta=-1.32, eta=-0.085)


def grid(widths=range(11, 20), ks=range(5, 10), seeds=1):
    n, k, _ = np.meshgrid([2.0**w for w in widths], [2.0**p for p in ks], range(seeds), indexing="ij")
    return n.ravel(), k.ravel()


def test_noiseless_law_is_recovered_exactly():
    n, k = grid()
    read = scaling_law.fit_joint(n, k, LAW(n, k))
    for name in ("alpha", "beta_k", "beta_n", "gamma", "zeta", "eta"):
        assert getattr(read, name) == pytest.approx(getattr(LAW, name), abs=1e-3), name
    assert scaling_law.r_squared(LAW(n, k), read(n, k)) == pytest.approx(1.0, abs=1e-9)
    assert read.exponent(64.0) == pytest.approx(-0.017 - 0.042 * math.log(64), abs=1e-3)


def test_few_runs_that_went_wrong_hardly_move_the_law():
    n, k = grid(seeds=2)
    error = scaling_law.planted(LAW, n, k, 0.005)
    spoiled = error.copy()
    spoiled[[7, 40]] *= 1.5
    whole, robust = scaling_law.fit_joint(n, k, error), scaling_law.fit_joint(n, k, spoiled)
    assert robust.gamma == pytest.approx(whole.gamma, abs=0.005) and robust.eta == pytest.approx(whole.eta, abs=0.03)


def test_intervals_hold_the_planted_law_about_as_often_as_they_say():
    n, k = grid(widths=range(11, 19, 2), seeds=2)
    simulations, fits = 24, []
    for seed in range(simulations):
        error = scaling_law.planted(LAW, n, k, 0.01, seed)
        fits.append(scaling_law.resampled_joint(n, k, error, resamples=60, level=0.9, seed=seed).intervals)
    for name in ("gamma", "eta"):
        held = sum(fit[name].low <= getattr(LAW, name) <= fit[name].high for fit in fits)
        assert held >= 17, name  # of 24 at 90 %, fewer are held once in six hundred times
        half = np.mean([fit[name].high - fit[name].low for fit in fits]) / 2
        assert half < 2.5 * np.std([fit[name].mean for fit in fits]), name  # 1.64 would be exact: no interval is idle


def test_sign_that_is_not_there_is_not_reported():
    level = JointLaw(alpha=-0.5, beta_k=0.1, beta_n=-0.2, gamma=0.0, zeta=-1.32, eta=0.0)
    n, k = grid(seeds=2)
    fit = scaling_law.resampled_joint(n, k, scaling_law.planted(level, n, k, 0.01), resamples=80)
    assert fit.intervals["gamma"].low < 0 < fit.intervals["gamma"].high
    assert fit.intervals["eta"].low < 0 < fit.intervals["eta"].high


def test_error_that_turns_with_width_lowers_r_squared():
    n, k = grid()
    turning = LAW(n, k) * np.exp(1.0 * np.square(np.log(n / 2**15)) / np.log(2**4) ** 2)
    assert scaling_law.resampled_joint(n, k, turning, resamples=5).r2 < 0.95
    assert scaling_law.resampled_joint(n, k, LAW(n, k), resamples=5).r2 > 0.999


def test_law_without_a_floor_fits_worse_and_predicts_too_little_at_the_widest():
    n, k = grid()
    error = LAW(n, k)
    bare = scaling_law.fit_joint(n, k, error, irreducible=False)
    assert bare.irreducible(32.0) == 0.0 and scaling_law.r_squared(error, bare(n, k)) < 0.998
    assert scaling_law.miss_at_widest(n, k, error) == pytest.approx(1.0, abs=1e-3)
    assert scaling_law.miss_at_widest(n, k, error, irreducible=False) > 1.01
    assert math.isnan(scaling_law.miss_at_widest(*grid(range(11, 14)), LAW(*grid(range(11, 14)))))


def test_controls_know_noise_and_chance():
    n, k = grid(seeds=3)
    error = scaling_law.planted(LAW, n, k, 0.02)
    assert scaling_law.noise(n, k, error) == pytest.approx(0.02, rel=0.2)
    assert scaling_law.noise(*grid(), LAW(*grid())) == 0.0
    assert scaling_law.shuffled_r2(n, k, error) < 0.3 < 0.99 < scaling_law.resampled_joint(n, k, error, 5).r2


def test_published_points_give_the_papers_law():
    paper = results.published("topk_fig01_right")
    fit = scaling_law.resampled_joint(paper.n, paper.k, paper.normalised_mse, resamples=100)
    assert len(paper) == 45 and fit.r2 > 0.99
    for name in ("alpha", "beta_k", "beta_n", "gamma", "zeta", "eta"):
        one = fit.intervals[name]
        slack = 0.5 * (one.high - one.low)  # the points were read off pixels, whose errors are no noise of runs
        assert one.low - slack < getattr(LAW, name) < one.high + slack, name


def test_power_law_with_and_without_an_offset_is_recovered():
    x = np.geomspace(1e8, 1e12, 30)
    planted = PowerLaw(0.09, 5.0, -0.2)
    read = scaling_law.fit_power_law(x, planted(x))
    assert (read.offset, read.coefficient, read.exponent) == pytest.approx((0.09, 5.0, -0.2), rel=0.01)
    bare = scaling_law.fit_power_law(x, 5.0 * x**-0.2, offset=False)
    assert bare.offset == 0.0 and (bare.coefficient, bare.exponent) == pytest.approx((5.0, -0.2))
    assert scaling_law.log_slope(x, 5.0 * x**-0.2) == pytest.approx(-0.2)
    assert math.isnan(scaling_law.log_slope([1.0], [2.0])) and math.isnan(
        scaling_law.log_slope([1.0, 2], [2, math.nan])
    )


@pytest.mark.parametrize(
    ("n", "k", "error", "words"),
    [
        ([1, 2, 3], [1, 2], [1, 1, 1], "there are 3, 2 and 3"),
        ([2, 4, 8] * 3, [1] * 9, [0.5] * 9, "there are 3 widths, 1 k and 3 pairs"),
        ([2, 4] * 4, [1, 1, 2, 2, 4, 4, 8, 8], [0.5] * 8, "2 widths, 4 k and 8 pairs"),
        ([2, 4, 8] * 3, [1, 1, 1, 2, 2, 2, 4, 4, 4], [0.5] * 8 + [0.0], "every error .* one is 0"),
        ([2, 4, 8] * 3, [1, 1, 1, 2, 2, 2, 4, 4, 4], [0.5] * 8 + [math.nan], "every error .* one is nan"),
    ],
)
def test_grid_that_no_law_can_be_fitted_to_is_refused(n, k, error, words):
    for fit in (scaling_law.fit_joint, scaling_law.resampled_joint):
        with pytest.raises(UserError, match=words):
            fit(n, k, error)


def test_too_few_points_or_errors_below_zero_are_refused():
    with pytest.raises(UserError, match="at 4 different x, and has 3"):
        scaling_law.fit_power_law([1, 2, 3], [0.3, 0.2, 0.1])
    with pytest.raises(UserError, match=r"every error .* one is -0\.1"):
        scaling_law.fit_power_law([1, 2, 3, 4], [0.3, 0.2, 0.1, -0.1])
