"""A recorded interval at another level, and the interval in which one more run would fall.

A result keeps the mean, the two ends and the number n of values, but neither the level nor the form. Here every interval
is read as Student's, with n - 1 degrees of freedom and a spread of its own on either side of the mean, on the logarithmic
scale where that is the more symmetric one (ratios). This is exact for t intervals of means and of logs. It is an
approximation for bootstrap intervals, for Fieller's, which grow faster on one side, and for the extremes over sites.
"""

import math
from dataclasses import dataclass

import scipy  # `scipy.special` is imported when it is first used

from saebook.evaluation.intervals import Interval, joint_level

LEVEL = 0.95  # of a recorded interval, or of all contrasts of an ordering together


@dataclass(frozen=True)
class Spread:
    """The form of an interval: its mean and the half-widths below and above it, in logs where `log` says so."""

    mean: float
    below: float
    above: float
    log: bool

    def place(self, value: float) -> float:
        """`value` on the scale of this spread; on the logarithmic one nothing lies below zero."""
        if not self.log:
            return value
        return math.log(value) if value > 0 else -math.inf

    def times(self, factor: float, of: Interval) -> Interval:
        """The interval `of` with half-widths `factor` times as large."""
        low, high = self.mean - factor * self.below, self.mean + factor * self.above
        if self.log:
            low, high = _exp(low), _exp(high)
        return Interval(of.mean, low, high, of.n, of.values)


def usable(live: Interval) -> bool:
    """Whether an interval says anything: two values or more, and its mean between its ends (false where one is NaN)."""
    return live.n >= 2 and live.low <= live.mean <= live.high


def spread(live: Interval) -> Spread:
    """The form of a usable interval."""
    below, above = live.mean - live.low, live.high - live.mean
    if live.low > 0 and math.isfinite(live.high):
        down, up = math.log(live.mean / live.low), math.log(live.high / live.mean)
        if abs(up - down) * live.mean < abs(above - below):
            return Spread(math.log(live.mean), down, up, log=True)
    return Spread(live.mean, below, above, log=False)


def at_level(live: Interval, level: float, contrasts: int = 1) -> Interval:
    """A recorded interval at `level`, where it was one of so many `contrasts` that hold together with `LEVEL`.

    At `level` all of them hold together too. An interval that is not usable comes back as it is.
    """
    if not usable(live):
        return live
    factor = quantile(live.n, level, contrasts) / quantile(live.n, LEVEL, contrasts)
    return spread(live).times(factor, live)


def prediction(live: Interval) -> Interval:
    """The interval in which one more run falls with the level of `live`: t s sqrt(1 + 1/n) about the mean of n runs."""
    return spread(live).times(math.sqrt(live.n + 1), live) if usable(live) else live


def quantile(n: int, level: float, contrasts: int = 1) -> float:
    """The half-width of a t interval of n values in standard errors, for `contrasts` intervals that hold together."""
    return float(scipy.special.stdtrit(n - 1, 0.5 + joint_level(contrasts, level) / 2))


def p_value(n: int, errors: float, contrasts: int = 1) -> float:
    """The two-sided p-value of a distance of so many standard `errors`, n values, corrected for `contrasts` (Bonferroni)."""
    return min(1.0, 2.0 * contrasts * float(scipy.special.stdtr(n - 1, -errors)))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
