"""A common scale for claims about different quantities: what decides lies at the same place in every row.

On it, no effect is 0 and the range that a claim asks for begins at 1. A range with two ends has the farther one at 2.
Distances beyond these places are compressed, for one effect is forty times as large as needed where another just suffices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from saebook.claims import rules
from saebook.claims.ledger import Claim
from saebook.evaluation.intervals import Interval

LEFT, RIGHT = -2.0, 4.0  # the part of the scale that is drawn


@dataclass(frozen=True)
class Scale:
    """Where values of a claim's quantity lie, the claimed `side` (1 or -1) being to the right.

    `edge` lies at 1 and `end` at 2; None for a range without an end. The null value lies at 0 where it is outside the range
    (`outside`). Everywhere else `unit` is one step. With `ratio`, distances are those of logarithms.
    """

    side: int
    null: float
    edge: float
    end: float | None
    unit: float
    outside: bool
    ratio: bool

    def place(self, value: float) -> float:
        """The place of `value`, from `LEFT` to `RIGHT`; a value beyond what is drawn lies at the end."""
        if math.isnan(value):
            return math.nan
        return min(RIGHT, max(LEFT, _compressed(self._steps(value), 1.0 if self.end is None else 2.0)))

    def _steps(self, value: float) -> float:
        if math.isinf(value) or (self.ratio and value <= 0):
            return self.side * (math.inf if value > 0 else -math.inf)
        beyond = self.side * _distance(self.edge, value, self.ratio)
        unit = abs(_distance(self.null, self.edge, self.ratio)) if beyond < 0 and self.outside else self.unit
        return 1 + beyond / unit


def scale(claim: Claim, values: Sequence[Interval]) -> Scale:
    """The scale of a claim, for the intervals that are to be drawn on it."""
    of = rules.target(claim)
    side = of.side or 1
    edge, far = (of.low, of.high) if side > 0 else (of.high, of.low)
    numbers = [one for value in values for one in (value.mean, value.low, value.high) if math.isfinite(one)]
    ratio = of.null == 1 and edge > 0 and all(one > 0 for one in numbers)
    end = far if math.isfinite(far) and not (ratio and far <= 0) else None
    outside = bool(of.side) and edge != of.null
    if end is not None and end != edge:
        unit = abs(_distance(edge, end, ratio))
    elif outside:
        unit = abs(_distance(of.null, edge, ratio))
    else:  # nothing but the values themselves says what is much
        unit = max((abs(_distance(edge, one, ratio)) for one in numbers), default=0.0) / 2 or 1.0
    return Scale(side, of.null, edge, end, unit, outside, ratio)


def _distance(start: float, value: float, ratio: bool) -> float:
    return math.log(value / start) if ratio else value - start


def _compressed(steps: float, last: float) -> float:
    """`steps` as they are from 0 to `last`, and by their inverse hyperbolic sine outside."""
    if steps < 0:
        return -0.8 * math.asinh(-steps)
    return steps if steps <= last else last + 0.8 * math.asinh(steps - last)
