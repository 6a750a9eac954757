"""A recorded interval read at another level is the interval that would have been made at that level."""

import math

import numpy as np
import pytest
from scipy import stats

from saebook.claims import levels
from saebook.evaluation.intervals import Interval, joint_level, t_interval
from saebook.evaluation.pareto import log_interval

X = [0.42, 0.55, 0.61, 0.5]


@pytest.mark.parametrize("make", [t_interval, log_interval])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_t_intervals_of_means_and_of_logs_are_exact(make, level):
    read, made = levels.at_level(make(X), level), make(X, level)
    assert (read.low, read.high, read.n) == (pytest.approx(made.low), pytest.approx(made.high), 4)


def test_contrasts_hold_together_at_the_new_level_too():
    read, made = levels.at_level(t_interval(X, joint_level(3)), 0.99, 3), t_interval(X, joint_level(3, 0.99))
    assert (read.low, read.high) == (pytest.approx(made.low), pytest.approx(made.high))


def test_one_more_run_falls_within_t_s_root_one_plus_one_over_n():
    half = stats.t.ppf(0.975, 3) * np.std(X, ddof=1) * math.sqrt(1 + 1 / 4)
    wide = levels.prediction(t_interval(X))
    assert (wide.low, wide.high) == (pytest.approx(np.mean(X) - half), pytest.approx(np.mean(X) + half))
    logs = np.log(X)
    half = stats.t.ppf(0.975, 3) * np.std(logs, ddof=1) * math.sqrt(1 + 1 / 4)
    assert levels.prediction(log_interval(X)).high == pytest.approx(math.exp(logs.mean() + half))


def test_one_more_run_falls_inside_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    inside = []
    for runs in rng.normal(0.0, 1.0, (2000, 5)):
        wide = levels.prediction(t_interval(runs[:4]))
        inside.append(wide.low <= runs[4] <= wide.high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_p_value_agrees_with_the_t_test():
    errors = np.mean(X) / (np.std(X, ddof=1) / 2)
    assert levels.p_value(4, float(errors)) == pytest.approx(stats.ttest_1samp(X, 0.0).pvalue)
    assert levels.p_value(4, float(errors), 3) == pytest.approx(3 * stats.ttest_1samp(X, 0.0).pvalue)
    assert levels.p_value(4, 0.0) == 1.0 and levels.p_value(4, math.inf) == 0.0


@pytest.mark.parametrize(
    "live",
    [
        Interval(0.5, 0.5, 0.5, 1),
        Interval(math.nan, -math.inf, math.inf, 3),
        Interval(0.5, 0.6, 0.7, 3),
        Interval(0.5, -math.inf, math.inf, 3),
        Interval(0.5, 0.5, 0.5, 3),
    ],
)
def test_interval_without_a_width_of_its_own_stays_as_it_is(live):
    for other in (levels.at_level(live, 0.999), levels.prediction(live)):
        assert str(other) == str(live)


def test_extreme_levels_stay_numbers():
    wide = levels.at_level(log_interval([0.5, 0.9]), 1 - 1e-12)
    assert wide.low >= 0.0 and wide.high > 0.9 and not math.isnan(wide.high)
