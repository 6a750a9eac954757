"""Compare sweeps by the L0 that each method needs to reach the same loss recovered.

The comparison behind "half as many firing features" (Gated paper, abstract and Figures 1, 5, 12, 13): L0 of both
Pareto fronts at matched loss recovered, as the geometric mean of ratios over the levels that both fronts reach.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from saebook.evaluation.intervals import Interval, l0_at, l0_ratio, pareto_front, ratio_interval, t_interval

CE_INCREASE = "ce_increase"
CLEARLY = 0.01  # of loss recovered: where a curve is flat, its points differ by less from seed to seed


def with_increase(table: pd.DataFrame) -> pd.DataFrame:
    """A sweep's table with the column `ce_increase`: the cross-entropy that an SAE in place adds, in nats per token."""
    return table.assign(**{CE_INCREASE: table.ce - table.ce_clean})


def ratio_per_seed(table: pd.DataFrame, method: str, baseline: str) -> list[float]:
    """L0 of `method` over L0 of `baseline` at equal loss recovered, one value per seed, each seed's fronts compared."""
    return [ratio(group[group.method == method], group[group.method == baseline]) for _, group in table.groupby("seed")]


def ratio_between_seeds(table: pd.DataFrame, method: str) -> list[float]:
    """The control: the same ratio between SAEs of one method, for every pair of seeds."""
    groups = [group for _, group in table[table.method == method].groupby("seed")]
    return [ratio(one, other) for one, other in itertools.combinations(groups, 2)]


def matched_ratio_between_seeds(table: pd.DataFrame, method: str, column: str, at: str = "l0") -> list[float]:
    """The control for `matched_ratio`: the same ratio between SAEs of one architecture, for every pair of seeds."""
    groups = [group for _, group in table[table.method == method].groupby("seed")]
    return [matched_ratio(one, other, column, at) for one, other in itertools.combinations(groups, 2)]


def finite(values: Sequence[float]) -> list[float]:
    """The values without those of seeds whose curves do not meet (NaN)."""
    return [value for value in values if math.isfinite(value)]


def collapsed(table: pd.DataFrame) -> int:
    """Count the SAEs of one method that recover less loss, by `CLEARLY`, than the next sparser of their seed, or none at all.

    Room to use more features cannot hurt an SAE that trained well. One that collapsed hides from a mean over the curve:
    without it the others span a shorter curve, which may be the better for it.
    """
    looser = -1 if table.sparsity.corr(table.l0, method="spearman") > 0 else 1  # k grows with L0, a penalty against it
    curves = (g.sort_values("sparsity", key=lambda s: looser * s).loss_recovered for _, g in table.groupby("seed"))
    return int(sum(((curve.diff(-1) < -CLEARLY) | (curve <= 0)).sum() for curve in curves))


def published_ratios(paper: pd.DataFrame) -> pd.DataFrame:
    """The ratio from the paper's own rows, one line per model, site and layer; rows with an impossible L0 left out."""
    usable = paper[paper.L0 > 0].rename(
        columns={"L0": "l0", "pct_CE_recovered": "loss_recovered", "sae_type": "method"}
    )
    rows = [
        {
            "model": model,
            "site": site,
            "layer": layer,
            "ratio": ratio(g[g.method == "gated"], g[g.method == "baseline"]),
        }
        for (model, site, layer), g in usable.groupby(["model", "site", "layer"])
    ]
    return pd.DataFrame(rows)


def log_interval(ratios: list[float], level: float = 0.95) -> Interval:
    """A t interval over seeds on the log scale, given back as ratios. Seeds whose fronts do not overlap are left out."""
    logs = [math.log(r) for r in ratios if r is not None and math.isfinite(r) and r > 0]
    if not logs:
        return Interval(float("nan"), 0.0, float("inf"), 0)
    log = t_interval(logs, level)
    return Interval(math.exp(log.mean), _exp(log.low), _exp(log.high), log.n, tuple(map(math.exp, logs)))


@dataclass(frozen=True)
class Spread:
    """Factors (at least 1) by which a comparison separates SAEs that differ only in their seed.

    The geometric mean over pairs, and the largest. Their mean *in one direction* would say nothing: taken round all seeds it
    is 1 for every comparison.
    """

    typical: float
    most: float
    pairs: int

    def __str__(self) -> str:
        if not self.pairs:
            return "no two seeds can be compared"
        return f"a factor of {self.typical:.3f}, at most {self.most:.3f} ({self.pairs} pairs of seeds)"


def spread(ratios: Sequence[float]) -> Spread:
    """The `Spread` of ratios between pairs of seeds; pairs that cannot be compared are left out."""
    logs = [abs(math.log(r)) for r in ratios if math.isfinite(r) and r > 0]
    if not logs:
        return Spread(math.nan, math.nan, 0)
    return Spread(math.exp(sum(logs) / len(logs)), math.exp(max(logs)), len(logs))


def ratio(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """L0 of `one` over L0 of `other` at equal loss recovered; both have columns l0 and loss_recovered."""
    return l0_ratio(one.l0, one.loss_recovered, other.l0, other.loss_recovered)


def share_of_gap(table: pd.DataFrame, method: str, between: str, baseline: str) -> Interval:
    """Share of the log L0 gap from `baseline` to `method` that the sweep `between` closes: 0 is none, 1 is all.

    Each seed's three fronts are read at the levels of loss recovered that all three reach, and the ratio of the two mean
    gaps has Fieller's interval over seeds: the whole line where there may be no gap to close.
    """
    closed, gap = [], []
    for _, group in table.groupby("seed"):
        top, middle, bottom = mean_log_l0([group[group.method == name] for name in (method, between, baseline)])
        closed.append(bottom - middle)
        gap.append(bottom - top)
    return ratio_interval(closed, gap)


def mean_log_l0(sweeps: Sequence[pd.DataFrame], points: int = 20) -> list[float]:
    """Mean log L0 of each sweep's front over `points` levels of loss recovered that all of them reach; NaN where none is."""
    curves = [s[s.l0 > 0] for s in sweeps]
    fronts = [c.loss_recovered[pareto_front(c.l0, c.loss_recovered)] for c in curves]
    if min(map(len, fronts)) < 2:
        return [math.nan] * len(sweeps)
    low, high = max(f.min() for f in fronts), min(f.max() for f in fronts)
    if not low < high:
        return [math.nan] * len(sweeps)
    levels = np.linspace(low, high, points + 2)[1:-1]
    return [float(np.log(l0_at(c.l0, c.loss_recovered, levels)).mean()) for c in curves]


def matched_ratio(one: pd.DataFrame, other: pd.DataFrame, column: str, at: str = "l0", points: int = 20) -> float:
    """`column` of `one` over `column` of `other` at equal `at`: the geometric mean over the range that both cover.

    Each sweep is a piecewise-linear curve in log-log space, as the Top-k paper interpolates (caption of its Figure 2).
    NaN where the ranges do not meet, or a sweep has no value above zero: nothing is extrapolated.
    """
    curves = [_log_curve(table, at, column) for table in (one, other)]
    if not all(len(x) for x, _ in curves):
        return math.nan
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if not low < high:
        return math.nan
    levels = np.linspace(low, high, points)
    return float(np.exp(np.mean(np.interp(levels, *curves[0]) - np.interp(levels, *curves[1]))))


def value_at(table: pd.DataFrame, column: str, wanted: float, at: str = "l0") -> float:
    """`column` of a sweep where `at` is `wanted`, interpolated in log-log space; NaN outside the sweep."""
    x, y = _log_curve(table, at, column)
    if not len(x):
        return math.nan
    return float(np.exp(np.interp(math.log(wanted), x, y, left=math.nan, right=math.nan)))


def _log_curve(table: pd.DataFrame, at: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    usable = table[(table[at] > 0) & (table[column] > 0)].sort_values(at)
    return np.log(usable[at].to_numpy(float)), np.log(usable[column].to_numpy(float))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else float("inf")
