"""The dip test: against its definition as a linear programme, against published values, and on planted samples."""

import math

import numpy as np
import pytest
import scipy

from saebook.common.errors import UserError
from saebook.papers.e2e.measured import dip


def by_definition(sample) -> float:
    """The least sup-distance to a distribution with its mode at a value of the sample: a linear programme for each."""
    x = np.unique(sample)
    after = np.array([(sample <= value).mean() for value in x])
    before = np.array([(sample < value).mean() for value in x])
    return min(_with_mode_at(m, x, before, after) for m in range(len(x)))


def _with_mode_at(m, x, before, after):
    """Unknown: the function at each value up to the mode (from the left there), at each from the mode on, the distance."""
    n = len(x)
    places = [*range(m + 1), *range(m, n)]
    rows, bounds = [], []

    def at_most(terms, bound):
        row = np.zeros(n + 2)
        for i, factor in terms:
            row[i] += factor
        rows.append(row)
        bounds.append(bound)

    distance = n + 1
    for i, place in enumerate(places):
        limits = {before[place], after[place]} if place != m else {before[place] if i == m else after[place]}
        for limit in limits:
            at_most([(i, 1), (distance, -1)], limit)
            at_most([(i, -1), (distance, -1)], -limit)
    for i in range(len(places) - 1):
        at_most([(i, 1), (i + 1, -1)], 0)
    for sign, inside in ((1, range(1, m)), (-1, range(m + 2, n))):
        for i in inside:
            left, right = x[places[i]] - x[places[i - 1]], x[places[i + 1]] - x[places[i]]
            at_most(
                [(i, sign / left + sign / right), (i - 1, -sign / left), (i + 1, -sign / right)], 0
            )  # slopes rise up to the mode, and fall after it
    cost = np.zeros(n + 2)
    cost[distance] = 1
    return scipy.optimize.linprog(cost, np.array(rows), bounds, bounds=[(0, 1)] * (n + 2)).fun


@pytest.mark.parametrize("seed", range(8))
def test_dip_is_the_least_distance_to_one_mode(seed):
    generator = np.random.default_rng(seed)
    sample = np.concatenate([generator.normal(0, 1, 9), generator.normal(seed / 2, 0.5, 7)])
    if seed % 2:
        sample = sample.round(1)  # with ties
    assert dip.dip(sample) == pytest.approx(by_definition(sample), abs=1e-7)


def test_dip_of_the_faculty_ratings_is_the_published_one():
    once = "30 33 35 36 37 37 41 42 44 44 45 45 46 46 47 47 49 50 50 51 52 52 54 54 57 57 59 63 66 70 72 72"
    often = {39: 5, 40: 4, 43: 3, 48: 3, 53: 5, 60: 3, 61: 4, 62: 4}
    ratings = [int(word) for word in once.split()] + [value for value, times in often.items() for _ in range(times)]
    assert len(ratings) == 63 and dip.dip(ratings) == pytest.approx(0.0595238, abs=1e-6)


def test_equally_spaced_values_have_the_least_dip_and_two_points_the_largest():
    assert dip.dip(np.arange(20)) == pytest.approx(1 / 40)
    assert dip.dip([0.0] * 50 + [1.0] * 50) == pytest.approx(0.25)
    assert dip.dip(3 * np.arange(20.0) ** 2) == pytest.approx(dip.dip(np.arange(20.0) ** 2))
    for wrong in ([], [1.0, math.nan]):
        with pytest.raises(UserError):
            dip.dip(wrong)


@pytest.mark.parametrize(("size", "published"), [(50, 0.070), (100, 0.051), (200, 0.037)])
def test_critical_values_are_those_of_hartigan_and_hartigan(size, published):
    assert np.quantile(dip._under_one_mode(size), 0.95) / math.sqrt(size) == pytest.approx(published, rel=0.04)


def test_null_is_simulated_at_a_size_no_smaller_than_the_sample_up_to_a_limit():
    assert dip._null(100) is dip._under_one_mode(128) and dip._null(128) is dip._under_one_mode(128)
    assert np.median(dip._null(200)) > np.median(dip._under_one_mode(50))  # on the safe side


@pytest.mark.parametrize("draw", ["normal", "exponential", "uniform", "largest of many"])
def test_one_mode_is_rarely_rejected_however_skewed(draw):
    generator = np.random.default_rng(3)

    def sample():
        if draw == "largest of many":
            return generator.normal(0, 0.1, (128, 100)).max(1)
        return getattr(generator, draw)(size=128)

    assert sum(dip.p_value(sample()) <= 0.05 for _ in range(40)) <= 6


def test_two_groups_are_rejected_as_far_as_they_lie_apart():
    generator = np.random.default_rng(4)

    def two(apart, first=64):
        return np.concatenate([generator.normal(0, 1, first), generator.normal(apart, 1, 128 - first)])

    assert sum(dip.p_value(two(5.0)) <= 0.05 for _ in range(20)) == 20
    assert sum(dip.p_value(two(1.0)) <= 0.05 for _ in range(20)) <= 3
    far = two(6.0)
    assert dip.p_value(far) == pytest.approx(1 / 1000) and dip.over_critical(far) > 2
    assert dip.over_critical(generator.normal(size=128)) < 1


def test_share_of_seeds_that_all_agree_has_a_width():
    sure = dip.share_interval([True] * 3)
    assert (sure.mean, sure.high, sure.n) == (1.0, 1.0, 3) and sure.low == pytest.approx(0.025 ** (1 / 3))
    none, half = dip.share_interval([False] * 3), dip.share_interval([True, False])
    assert none.low == 0 and none.high == pytest.approx(1 - sure.low) and half.low < 0.5 < half.high
