"""Confidence intervals, Pareto fronts, and L0 at equal quality."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy  # it imports `scipy.stats`, which takes half a second, when that is first used
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; `n` values went in, `values` where they are few enough to be kept.

    With fewer than two the interval is the whole line.
    """

    mean: float
    low: float
    high: float
    n: int
    values: tuple[float, ...] = field(default=(), compare=False)


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval of the mean."""
    x = np.asarray(values, float)
    kept = tuple(x.tolist())
    if len(x) < 2:
        return Interval(float(x.mean()) if len(x) else math.nan, -math.inf, math.inf, len(x), kept)
    half = float(scipy.stats.t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return Interval(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, len(x), kept)


def bootstrap_interval(
    values: ArrayLike, statistic: Callable = np.mean, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """BCa bootstrap interval of `statistic`. For samples of some size: with three seeds use `t_interval`."""
    x = np.asarray(values, float)
    if len(x) < 2 or np.ptp(x) == 0:
        only = float(statistic(x)) if len(x) else math.nan
        return Interval(only, only if len(x) > 1 else -math.inf, only if len(x) > 1 else math.inf, len(x))
    ends = scipy.stats.bootstrap(
        (x,), statistic, confidence_level=level, n_resamples=resamples, rng=np.random.default_rng(seed)
    ).confidence_interval
    return Interval(float(statistic(x)), float(ends.low), float(ends.high), len(x))


def pareto_front(l0: ArrayLike, quality: ArrayLike) -> np.ndarray:
    """Mask [n] of the points that no other point beats: none has at most their L0 and more quality."""
    l0, quality = np.asarray(l0, float), np.asarray(quality, float)
    order = np.lexsort((-quality, l0))
    best, mask = -math.inf, np.zeros(len(l0), bool)
    for i in order:
        if quality[i] > best:
            best, mask[i] = quality[i], True
    return mask


def l0_at(l0: ArrayLike, quality: ArrayLike, wanted: ArrayLike) -> np.ndarray:
    """L0 that the Pareto front needs for each `wanted` quality, linear in log L0; NaN outside the front's range."""
    l0, quality = np.asarray(l0, float), np.asarray(quality, float)
    usable = l0 > 0
    l0, quality = l0[usable], quality[usable]
    front = pareto_front(l0, quality)
    x, y = quality[front], np.log(l0[front])
    order = np.argsort(x)
    wanted = np.asarray(wanted, float)
    if not len(x):
        return np.full(wanted.shape, math.nan)
    return np.exp(np.interp(wanted, x[order], y[order], left=math.nan, right=math.nan))


def l0_ratio(
    l0_a: ArrayLike,
    quality_a: ArrayLike,
    l0_b: ArrayLike,
    quality_b: ArrayLike,
    points: int = 20,
) -> float:
    """L0 of a over L0 of b at equal quality: the geometric mean over `points` levels, evenly spaced over the overlap.

    NaN when the fronts reach no quality in common: nothing is extrapolated.
    """
    fronts = []
    for l0, quality in ((l0_a, quality_a), (l0_b, quality_b)):
        l0, quality = np.asarray(l0, float), np.asarray(quality, float)
        keep = l0 > 0
        l0, quality = l0[keep], quality[keep]
        front = pareto_front(l0, quality)
        if front.sum() < 2:
            return math.nan
        fronts.append(quality[front])
    low, high = max(f.min() for f in fronts), min(f.max() for f in fronts)
    if not low < high:
        return math.nan
    # The ends themselves belong to both ranges, but for rounding; stay inside.
    levels = np.linspace(low, high, points + 2)[1:-1]
    return float(np.exp(np.mean(np.log(l0_at(l0_a, quality_a, levels)) - np.log(l0_at(l0_b, quality_b, levels)))))


def joint_level(contrasts: int, level: float = 0.95) -> float:
    """The level of each of several intervals that are to hold together with `level` (Bonferroni)."""
    return 1.0 - (1.0 - level) / contrasts


def ratio_interval(above: Sequence[float], below: Sequence[float], level: float = 0.95) -> Interval:
    """Fieller's interval of mean(above) / mean(below), paired values; its `values` are the ratios pair by pair.

    A ratio of differences has no t interval of its own. Where the denominator may be zero, the interval is the whole
    line. Pairs with a value that is not finite are left out.
    """
    pairs = np.array([(a, b) for a, b in zip(above, below, strict=True) if math.isfinite(a) and math.isfinite(b)])
    n = len(pairs)
    if not n or not pairs[:, 1].all():
        return Interval(math.nan, -math.inf, math.inf, n)
    (a, b), kept = pairs.mean(0), tuple((pairs[:, 0] / pairs[:, 1]).tolist())
    if n < 2:
        return Interval(float(a / b), -math.inf, math.inf, n, kept)
    t2 = float(scipy.stats.t.ppf(0.5 + level / 2, n - 1)) ** 2
    (s_aa, s_ab), (_, s_bb) = np.cov(pairs.T) / n
    # All ratios r whose difference a - r b has a t interval that holds zero: between the roots of a quadratic.
    square, middle, constant = b * b - t2 * s_bb, a * b - t2 * s_ab, a * a - t2 * s_aa
    if square <= 0:
        return Interval(float(a / b), -math.inf, math.inf, n, kept)
    half = math.sqrt(max(0.0, middle * middle - square * constant))
    return Interval(float(a / b), float((middle - half) / square), float((middle + half) / square), n, kept)
