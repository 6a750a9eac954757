"""Paired ratings of features: the Gated paper's statistics (section 4.3, appendix H), and simulated raters to test them on.

A rater gives each feature No, Maybe or Yes, as 0, 1 or 2. Features come in pairs that share rater and setting, one Gated, one
baseline; what is tested is the difference within pairs.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats

from saebook.evaluation.intervals import Interval, bootstrap_interval

LEVEL = 0.9  # of the paper's intervals


def p_value(differences: ArrayLike) -> float:
    """One-sided paired Wilcoxon test, ties with zero ranked as Pratt does. H0: Gated is at most as interpretable.

    The normal approximation with the tie correction; one when no pair differs.
    """
    d = np.asarray(differences, float)
    if not np.any(d):
        return 1.0
    test = scipy_stats.wilcoxon(d, zero_method="pratt", alternative="greater", method="asymptotic")
    return float(test.pvalue)  # pyright: ignore[reportAttributeAccessIssue] - SciPy makes the class of its result at run time


def mean_difference(differences: ArrayLike) -> Interval:
    """Mean label difference, Gated minus baseline, with the BCa bootstrap interval at the paper's level."""
    return bootstrap_interval(differences, level=LEVEL)


# Raters made up ----------------------------------------------------------------------------------------------------------


def edge_share(half_width: float, pairs: int) -> float:
    """The share of No, equal to that of Yes, that makes differences of unrelated labels spread as a published interval says.

    `half_width` of an interval at `LEVEL` over `pairs`: the standard error times a normal quantile. Two labels that are 0
    or 2 with probability e each and else 1 differ with variance 4 e.
    """
    spread = half_width / float(scipy_stats.norm.ppf(0.5 + LEVEL / 2)) * math.sqrt(pairs)
    return min(spread**2 / 4, 0.5)


def made_up(pairs: int, effect: float, edge: float, rng: np.random.Generator | int) -> np.ndarray:
    """Differences [pairs] of raters whose mean label difference is `effect`: labels of Gated are raised by one now and then.

    `rng` is a generator, or the seed of a new one.
    """
    rng = np.random.default_rng(rng)
    shares = [edge, 1 - 2 * edge, edge]
    baseline, gated = rng.choice(3, pairs, p=shares), rng.choice(3, pairs, p=shares)
    raised = (gated < 2) & (rng.random(pairs) < effect / (1 - edge))
    return gated + raised - baseline


def significant_share(
    pairs: int, effect: float, edge: float, studies: int, seed: int = 0, alpha: float = 0.05
) -> float:
    """The share of simulated studies that the test finds significant: its false alarms without an effect, else its power."""
    rng = np.random.default_rng(seed)
    return float(np.mean([p_value(made_up(pairs, effect, edge, rng)) < alpha for _ in range(studies)]))
