"""How many active latents a method needs at one level of loss, over those of the baseline: `evaluation.pareto` at each level.

Where more is better (loss recovered), L0 is read off each seed's Pareto front, linear in its logarithm. Where less is
(added loss, error), it is read off each seed's curve in log-log space, as the Top-k paper does.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saebook.book.site.figures.declared import LOSSES
from saebook.book.site.figures.plotted import Panel, Series
from saebook.book.site.figures.quantities import QUANTITIES
from saebook.evaluation import intervals, pareto
from saebook.evaluation.intervals import Interval

BASELINES = ("relu", "baseline", "local")  # the first that is there
LEVELS = 31


@dataclass(frozen=True)
class Level:
    """At one level of loss: the geometric mean over seeds of each series' L0 (NaN where none reaches it), and its ratio to the baseline's."""

    loss: float
    l0: tuple[float, ...]
    ratios: tuple[Interval, ...]  # in the order of `Comparison.others`


@dataclass(frozen=True)
class Comparison:
    """L0 at equal loss: the place of the baseline among the series, those of the others, levels, and the ratio over all levels."""

    baseline: int
    others: tuple[int, ...]
    levels: tuple[Level, ...]
    over_all: tuple[Interval, ...]


def comparison(panel: Panel) -> Comparison | None:
    """The comparison that a panel of loss against L0 allows; None without a baseline, or where no level is in common."""
    base = baseline(panel.series)
    if panel.across != "l0" or panel.up not in LOSSES or base is None or len(panel.series) < 2:
        return None
    others = tuple(i for i in range(len(panel.series)) if i != base)
    ends = [_common(panel, base, other) for other in others]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if not low < high:
        return None
    space = np.geomspace if _falls(panel) else np.linspace
    losses = space(low, high, LEVELS + 2)[1:-1].tolist()
    l0 = [_l0_by_seed(panel, one, losses) for one in panel.series]
    levels = tuple(
        Level(loss, tuple(_mean(rows.iloc[:, i]) for rows in l0), tuple(_ratio(l0[o].iloc[:, i], l0[base].iloc[:, i]) for o in others))
        for i, loss in enumerate(losses)
    )  # fmt: skip
    return Comparison(base, others, levels, tuple(_over_all(panel, base, other) for other in others))


def baseline(series: Sequence[Series]) -> int | None:
    """The place of the series that others are compared with."""
    places = [i for name in BASELINES for i, one in enumerate(series) if one.method == name and one.first]
    return places[0] if places else None


def _falls(panel: Panel) -> bool:
    return QUANTITIES[panel.up].better == "less"


def _common(panel: Panel, base: int, other: int) -> tuple[float, float]:
    """The levels that every seed of both series reaches."""
    low, high = -math.inf, math.inf
    for one in (panel.series[base], panel.series[other]):
        for _, runs in one.runs.groupby("seed"):
            usable = runs[(runs.l0 > 0) & runs[panel.up].notna()]
            reached = usable[panel.up]
            if not _falls(panel):
                reached = reached[intervals.pareto_front(usable.l0, reached)]
            if len(reached):
                low, high = max(low, reached.min()), min(high, reached.max())
    return (low, high) if low < high else (math.inf, -math.inf)


def _l0_by_seed(panel: Panel, one: Series, losses: Sequence[float]) -> pd.DataFrame:
    """L0 of each seed (rows) at each level (columns)."""
    read: Callable[[pd.DataFrame], Sequence[float]]
    if _falls(panel):
        read = lambda runs: [pareto.value_at(runs, "l0", loss, at=panel.up) for loss in losses]  # noqa: E731
    else:
        read = lambda runs: intervals.l0_at(runs.l0, runs[panel.up], losses).tolist()  # noqa: E731
    narrow = one.runs[["seed", "l0", panel.up]]  # a sweep's table has dozens of columns, and is sorted for every level
    return pd.DataFrame.from_dict({seed: read(runs) for seed, runs in narrow.groupby("seed")}, orient="index")


def _mean(values: pd.Series) -> float:
    usable = values[np.isfinite(values)]
    return float(np.exp(np.log(usable).mean())) if len(usable) else math.nan


def _ratio(one: pd.Series, other: pd.Series) -> Interval:
    """The ratio, seed by seed, with its interval over seeds."""
    return pareto.log_interval((one / other).dropna().tolist())


def _over_all(panel: Panel, base: int, other: int) -> Interval:
    """The ratio over all levels that a seed's two curves reach, with its interval over seeds."""
    one, two = (dict(list(panel.series[i].runs.groupby("seed"))) for i in (other, base))
    read = (lambda a, b: pareto.matched_ratio(a, b, "l0", panel.up)) if _falls(panel) else pareto.ratio
    return pareto.log_interval([read(one[seed], two[seed]) for seed in one if seed in two])
