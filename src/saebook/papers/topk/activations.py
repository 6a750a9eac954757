"""Activation functions compared at equal L0 and across widths (Top-k paper, Figures 2 and 5)."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from saebook.evaluation.pareto import CE_INCREASE, matched_ratio, value_at

NMSE, CE = "normalised_mse", CE_INCREASE


def ratios(
    table: pd.DataFrame, one: str, others: Sequence[str], column: str = NMSE, at: str = "l0"
) -> list[float]:  # fmt: skip
    """`column` of one method over that of another at equal `at`, one value per seed; of several others the best one."""
    best = []
    for _, group in table.groupby("seed"):
        mine = group[group.method == one]
        against = [matched_ratio(mine, group[group.method == other], column, at) for other in others]
        best.append(max((r for r in against if math.isfinite(r)), default=math.nan))
    return best


def at_fixed_l0(table: pd.DataFrame, l0: float, column: str = NMSE) -> pd.DataFrame:
    """`column` at an L0, per method, width and seed, interpolated along each sweep."""
    rows = [
        {"method": method, "d_sae": width, "seed": seed, column: value_at(group, column, l0)}
        for (method, width, seed), group in table.groupby(["method", "d_sae", "seed"])
    ]
    return pd.DataFrame(rows).dropna()


def gap_slopes(table: pd.DataFrame, one: str, other: str, l0: float) -> list[float]:
    """Slope of log(NMSE of `other` / NMSE of `one`) at an L0 against log width, one per seed; NaN where a width does not reach it."""
    fixed, widths = at_fixed_l0(table, l0), table[table.method.isin([one, other])].d_sae.nunique()
    slopes = []
    for _, group in fixed.groupby("seed"):
        wide = group.pivot(index="d_sae", columns="method", values=NMSE).reindex(columns=[one, other]).dropna()
        enough = len(wide) == widths >= 2
        gap = np.log(wide[other] / wide[one])
        slopes.append(float(np.polyfit(np.log(wide.index), gap, 1)[0]) if enough else math.nan)
    return slopes


def power_law_fits(table: pd.DataFrame, method: str) -> list[float]:
    """R squared of log CE increase against log NMSE over widths at each sparsity; the mean over sparsities per seed."""
    mine = table[(table.method == method) & (table[CE] > 0)]
    means = []
    for _, group in mine.groupby("seed"):
        fits = [
            np.corrcoef(np.log(g[NMSE]), np.log(g[CE]))[0, 1] ** 2 for _, g in group.groupby("sparsity") if len(g) > 2
        ]
        means.append(float(np.mean(fits)) if fits else math.nan)
    return means
