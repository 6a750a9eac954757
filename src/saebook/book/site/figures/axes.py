"""Axes: where a value lies between two ends, and which values are labelled."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_PADDING = 0.06  # of the range, on either side, so that no mark is cut


@dataclass(frozen=True)
class Axis:
    """A range of values, linear or logarithmic (`log`)."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """The place of `value` from 0 to 1; a value beyond the ends lies at the end."""
        if self.log and value <= 0:
            return 0.0
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return min(1.0, max(0.0, (at - low) / (high - low)))

    def ticks(self) -> list[float]:
        """Round values within the range, about five: 1, 2 and 5 of each power of ten on a logarithmic axis that is long."""
        if self.log and self.high / self.low > 3:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            # A long axis has no room for all three.
            parts = (1.0, 2.0, 5.0) if self.high / self.low < 2000 else (1.0,)
            return [one for power in powers for part in parts if self.low <= (one := part * 10.0**power) <= self.high]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 12) for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def around(values: Iterable[float], log: bool) -> Axis:
    """The axis that holds all `values` with some room; without any, from 1 to 10."""
    usable = [one for one in values if math.isfinite(one) and (one > 0 or not log)]
    if not usable:
        return Axis(1.0, 10.0, log)
    low, high = min(usable), max(usable)
    if log:
        room = (high / low) ** _PADDING if high > low else 1.5
        return Axis(low / room, high * room, True)
    room = _PADDING * (high - low) or abs(low) / 10 or 1.0
    return Axis(low - room, high + room, False)


def tick_words(value: float) -> str:
    """A tick's label: a plain number, thousands with a k."""
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}"


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(part * power for part in (1.0, 2.0, 5.0, 10.0) if part * power >= least * (1 - 1e-9))
