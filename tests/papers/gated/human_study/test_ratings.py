"""The permutation test, and raters made up."""

import itertools

import numpy as np
import pandas as pd
import pytest

from saebook.papers.gated.human_study import ratings

PAIRS, EDGE = 171, 0.27


STUDIES = 2000


CHANCE = 3 * (0.05 * 0.95 / STUDIES) ** 0.5


def study(effect, seed=0, pairs=PAIRS):
    return ratings.made_up(pairs, effect, EDGE, np.random.default_rng(seed))


def test_p_value_equals_that_of_all_sign_flips():
    """Against the exact null of a small study: every assignment of signs, ranks with zeros as Pratt has them."""
    d = np.array([1, -1, 2, 0, 1, 1, 0, 2, -1, 1, 2, 1])
    ranks = pd.Series(np.abs(d)).rank().to_numpy()[d != 0]
    seen = ranks[d[d != 0] > 0].sum()
    tossed = [(ranks * signs).sum() for signs in itertools.product((0, 1), repeat=len(ranks))]
    assert ratings.p_value(d) == pytest.approx(np.mean(np.array(tossed) >= seen), abs=0.02)
    assert ratings.p_value(np.zeros(5)) == 1.0


def test_p_values_keep_their_level_without_an_effect():
    assert ratings.significant_share(PAIRS, 0.0, EDGE, STUDIES) <= 0.05 + CHANCE
    assert ratings.significant_share(24, 0.0, EDGE, STUDIES, seed=1) <= 0.05 + CHANCE
    # A planted fault: two-sided thinking, the better of both directions, breaks the promise.
    twice = [min(ratings.p_value(d), ratings.p_value(-d)) < 0.05 for d in map(lambda s: study(0, s), range(500))]
    assert np.mean(twice) > 0.07


def test_planted_effect_is_significant_and_swapped_labels_are_not():
    assert ratings.significant_share(PAIRS, 0.4, EDGE, 200) > 0.99
    d = study(0.4)
    right, swapped = ratings.mean_difference(d), ratings.mean_difference(-d)
    assert right.low < 0.4 < right.high and right.low > 0
    assert swapped.high < 0 and ratings.p_value(-d) > 0.99
    one_in_two = np.where(np.arange(PAIRS) % 2, d, -d)  # a key that is wrong for half of the pairs leaves nothing
    assert ratings.p_value(one_in_two) > 0.05


def test_simulated_raters_have_the_planted_effect_and_spread():
    d = study(0.13, pairs=200_000)
    assert d.mean() == pytest.approx(0.13, abs=0.01) and set(d) <= {-2, -1, 0, 1, 2}
    none = study(0.0, pairs=200_000)
    assert none.var() == pytest.approx(4 * EDGE, rel=0.02)
    half = 1.645 * (4 * EDGE / PAIRS) ** 0.5
    assert ratings.edge_share(half, PAIRS) == pytest.approx(EDGE, rel=1e-3)


def test_interval_covers_at_its_level():
    intervals = [ratings.mean_difference(study(0.13, seed, 60)) for seed in range(60)]
    assert np.mean([i.low <= 0.13 <= i.high for i in intervals]) > 0.9 - 3 * (0.09 / 60) ** 0.5
