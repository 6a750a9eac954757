"""Hartigan's dip test (Hartigan and Hartigan 1985): is one mode enough?

The dip is the least distance between the empirical distribution function and that of any distribution with one mode. No
shape is assumed, which is why it is used here: a test of one Gaussian against two also rejects a single skewed mode, and
largest cosines are skewed by nature. The p-value is simulated under the uniform distribution, which of all with one mode
has the largest dip in large samples, so that a rejection is cautious.
"""

import functools
import math

import numpy as np
import scipy
from numpy.typing import ArrayLike

from saebook.common.errors import UserError
from saebook.evaluation.intervals import Interval

_DRAWS = 999  # simulated samples
_LARGEST = 2048  # their largest size; sqrt(n) times the dip grows slowly with n


def dip(sample: ArrayLike) -> float:
    """The dip of a `sample` [n]; at least 1 / (2 n). Raises `UserError` for an empty sample or values that are not finite."""
    values = np.asarray(sample, float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise UserError("the dip needs a sample of finite numbers")
    x, counts = np.unique(values, return_counts=True)
    after = np.cumsum(counts) / len(values)  # the distribution function at each value, and just below it
    before = after - counts / len(values)
    low, high, largest = 0, len(x) - 1, 1.0 / len(values)
    # Outside [low, high] the best distribution is known: convex to the left, concave to the right. Inside, the distance
    # of the two hulls bounds the dip from above; the interval shrinks until it is reached (Hartigan 1985, AS 217).
    while True:
        part = slice(low, high + 1)
        at, below, above = x[part], before[part], after[part]
        convex, concave = _hull(at, below), _hull(at, -above)
        minorant, majorant = np.interp(at, at[convex], below[convex]), np.interp(at, at[concave], above[concave])
        gaps = majorant - minorant
        left, right = convex[np.argmax(gaps[convex])], concave[np.argmax(gaps[concave])]
        if gaps[right] > gaps[left]:
            gap, left = gaps[right], convex[np.searchsorted(convex, right, "right") - 1]
        else:
            gap, right = gaps[left], concave[np.searchsorted(concave, left)]
        if gap <= largest:
            return largest / 2
        to_left = float((above - minorant)[: left + 1].max())
        to_right = float((majorant - below)[right:].max())
        largest = max(largest, to_left, to_right)
        if (left, right) == (0, high - low):
            return largest / 2
        low, high = low + left, low + right


def _hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The indices of the points (`x`, `y`) on their lower convex hull, `x` [n] increasing."""
    xs, ys, kept = x.tolist(), y.tolist(), []
    for i in range(len(xs)):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (ys[b] - ys[a]) * (xs[i] - xs[b]) < (ys[i] - ys[b]) * (xs[b] - xs[a]):
                break
            kept.pop()
        kept.append(i)
    return np.array(kept)


@functools.cache
def _under_one_mode(size: int) -> np.ndarray:
    """sqrt(n) times the dip of uniform samples of a `size`, sorted."""
    generator = np.random.default_rng([size, _DRAWS])
    return math.sqrt(size) * np.sort([dip(generator.random(size)) for _ in range(_DRAWS)])


def _null(n: int) -> np.ndarray:
    """sqrt(n) times the dip for samples of size `n`, simulated at the next power of two: few sizes serve all, on the safe side."""
    return _under_one_mode(min(2 ** math.ceil(math.log2(n)), _LARGEST))


def p_value(sample: ArrayLike) -> float:
    """How often a uniform sample of about the same size has at least the dip of `sample` [n]; never below 1 / 1000."""
    n = len(np.asarray(sample))
    reached, null = math.sqrt(n) * dip(sample), _null(n)
    return float(1 + len(null) - np.searchsorted(null, reached - 1e-12)) / (len(null) + 1)


def over_critical(sample: ArrayLike, level: float = 0.05) -> float:
    """The dip of `sample` [n] over the value that one mode exceeds with probability `level`: above one, it is rejected."""
    n = len(np.asarray(sample))
    return math.sqrt(n) * dip(sample) / float(np.quantile(_null(n), 1 - level))


def share_interval(yes: ArrayLike, level: float = 0.95) -> Interval:
    """Clopper and Pearson's exact interval of a probability, from outcomes [n] that are true or false.

    A t interval of outcomes that all agree would have no width.
    """
    outcomes = np.asarray(yes, bool)
    n, k, tail = len(outcomes), int(outcomes.sum()), (1 - level) / 2
    low = float(scipy.stats.beta.ppf(tail, k, n - k + 1)) if k else 0.0
    high = float(scipy.stats.beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return Interval(k / n if n else math.nan, low, high, n, tuple(outcomes.astype(float).tolist()))
