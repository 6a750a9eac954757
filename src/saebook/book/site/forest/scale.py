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
    """Where values of a claim's quantity lie. Values below `origin` on the claimed `side` have negative places.

    `origin` is at `start`, `edge` at 1 and `end` at 2; None for an end that is not there. With `ratio` distances are those
    of logarithms. `null` is whether the origin is the null value, and outside the range.
    """

    side: int
    origin: float
    start: float
    edge: float
    end: float | None
    unit: float
    ratio: bool
    null: bool

    def place(self, value: float) -> float:
        """The place of `value`, from `LEFT` to `RIGHT`; a value beyond what is drawn lies at the end."""
        if math.isnan(value):
            return math.nan
        return min(RIGHT, max(LEFT, _compressed(self._steps(value), 1.0 if self.end is None else 2.0)))

    def _steps(self, value: float) -> float:
        if math.isinf(value) or (self.ratio and value <= 0):
            return self.side * (math.inf if value > 0 else -math.inf)
        at = self.side * (self._of(value) - self._of(self.edge))
        if at < 0 and self.null:
            return 1 + at / (self.side * (self._of(self.edge) - self._of(self.origin)))
        if self.end is not None and at >= 0 and self.end != self.edge:
            return 1 + at / abs(self._of(self.end) - self._of(self.edge))
        return 1 + at / self.unit

    def _of(self, value: float) -> float:
        return math.log(value) if self.ratio else value


def scale(claim: Claim, values: Sequence[Interval]) -> Scale:
    """The scale of a claim, for the intervals that are to be drawn on it."""
    of = rules.target(claim)
    side = of.side or 1
    edge, end = (of.low, of.high) if side > 0 else (of.high, of.low)
    numbers = [one for value in values for one in (value.mean, value.low, value.high) if math.isfinite(one)]
    ratio = of.null == 1 and edge > 0 and all(one > 0 for one in numbers)
    null = bool(of.side) and edge != of.null
    logs = [abs((math.log(one / edge)) if ratio else one - edge) for one in numbers]
    if math.isfinite(end) and end != edge and not (ratio and end <= 0):
        unit = abs(math.log(end / edge) if ratio else end - edge)
    elif null:
        unit = abs(math.log(edge / of.null) if ratio else edge - of.null)
    else:  # nothing but the values themselves says what is much
        unit = max(logs, default=0.0) / 2 or 1.0
    ends_there = math.isfinite(end) and not (ratio and end <= 0)
    return Scale(side, of.null, 0.0, edge, end if ends_there else None, unit, ratio, null)


def _compressed(steps: float, last: float) -> float:
    """`steps` as they are from 0 to `last`, and by their inverse hyperbolic sine outside."""
    if steps < 0:
        return -0.8 * math.asinh(-steps)
    return steps if steps <= last else last + 0.8 * math.asinh(steps - last)
