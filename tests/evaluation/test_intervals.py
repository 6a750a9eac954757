"""Intervals cover at their level; Pareto fronts and L0 at equal quality read known curves."""

import math

import numpy as np
import pytest

from saebook.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    l0_at,
    l0_ratio,
    pareto_front,
    ratio_interval,
    t_interval,
)


def test_t_interval_covers_at_its_level():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        interval = t_interval(rng.normal(1.0, 2.0, 3))
        covered += interval.low <= 1.0 <= interval.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_interval_of_one_or_no_value_is_the_whole_line():
    assert t_interval([2.0]) == Interval(2.0, -math.inf, math.inf, 1)
    assert math.isnan(t_interval([]).mean)
    assert bootstrap_interval([2.0]).high == math.inf


def test_bootstrap_covers_a_skewed_mean():
    rng = np.random.default_rng(1)
    covered = sum(
        interval.low <= 1.0 <= interval.high
        for interval in (bootstrap_interval(rng.exponential(1.0, 60), resamples=400) for _ in range(150))
    )
    assert 0.88 <= covered / 150 <= 0.99


def test_pareto_front_keeps_undominated_points():
    l0, quality = [10, 20, 20, 30, 40], [0.5, 0.7, 0.6, 0.65, 0.9]
    assert pareto_front(l0, quality).tolist() == [True, True, False, False, True]


def curve(factor, qualities):
    """A front on which quality q needs factor * exp(5 q) features: straight in the interpolation's own coordinates."""
    q = np.asarray(qualities)
    return factor * np.exp(5 * q), q


def test_l0_at_reads_a_known_curve_and_never_extrapolates():
    l0, q = curve(3.0, [0.2, 0.5, 0.9])
    assert l0_at(l0, q, [0.35, 0.7]) == pytest.approx(3.0 * np.exp([1.75, 3.5]))
    assert np.isnan(l0_at(l0, q, [0.1, 0.95])).all()


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_l0_ratio_reads_a_known_factor(factor):
    a, b = curve(factor, [0.3, 0.5, 0.8, 0.95]), curve(1.0, [0.2, 0.6, 0.9])
    assert l0_ratio(*a, *b) == pytest.approx(factor)
    assert l0_ratio(*b, *a) == pytest.approx(1 / factor)


def test_fronts_without_overlap_have_no_ratio():
    a, b = curve(1.0, [0.1, 0.2]), curve(1.0, [0.5, 0.9])
    assert math.isnan(l0_ratio(*a, *b))
    assert math.isnan(l0_ratio([5.0], [0.5], *b))
    assert math.isnan(l0_ratio([0.0, -3.0], [0.1, 0.9], *b))


def test_fieller_interval_covers_and_is_the_whole_line_for_a_zero_denominator():
    rng = np.random.default_rng(2)
    covered = sum(
        interval.low <= 0.3 <= interval.high
        for interval in (
            ratio_interval(0.3 * below + rng.normal(0, 0.1, 4), below) for below in rng.normal(1.0, 0.2, (2000, 4))
        )
    )
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)
    assert ratio_interval([0.2, 0.3, 0.1], [0.5, -0.4, 0.1]).high == math.inf
    exact = ratio_interval([5.0, 5.5, 6.0], [10.0, 11.0, 12.0])
    assert (exact.mean, exact.values) == (0.5, (0.5, 0.5, 0.5)) and exact.high - exact.low < 1e-6
    assert ratio_interval([1.0, math.nan], [2.0, 1.0]) == Interval(0.5, -math.inf, math.inf, 1)
    assert math.isnan(ratio_interval([], []).mean)
