"""Runs of different sizes (tokens, width) compared at equal L0: values at one L0, changes from size to size, and slopes."""

import itertools
import math
from typing import cast

import pandas as pd

from saebook.evaluation.pareto import matched_ratio, value_at
from saebook.papers.e2e.comparison import ALIVE, CE


def common_l0(table: pd.DataFrame, by: str) -> float:
    """The geometric middle of the L0 that the sweeps of every method, seed and value of `by` reach.

    If no L0 is common to all, the median over all runs.
    """
    sweeps = [g.l0[g.l0 > 0] for _, g in table.groupby(["method", "seed", by])]
    low, high = max(s.min() for s in sweeps), min(s.max() for s in sweeps)
    return math.sqrt(low * high) if low < high else float(table.l0.median())


def at_l0(table: pd.DataFrame, by: str, l0: float) -> pd.DataFrame:
    """Added cross-entropy and alive elements of every method, seed and value of `by` at `l0`, interpolated in log-log space.

    NaN where a sweep does not reach `l0`: nothing is extrapolated.
    """
    rows = [
        {"method": method, "seed": seed, by: size} | {column: value_at(g, column, l0) for column in (CE, ALIVE)}
        for (method, seed, size), g in table.groupby(["method", "seed", by])
    ]
    return pd.DataFrame(rows)


def changes(table: pd.DataFrame, by: str, method: str, column: str = CE) -> pd.DataFrame:
    """The change of the logarithm of `column` from each size to the next, at equal L0: a row per seed, a column per larger size.

    Each change is a mean over the L0 that both sizes reach (`pareto.matched_ratio`).
    """
    mine, sizes = table[table.method == method], sorted(table[by].unique())
    steps = {
        after: pd.Series(
            {
                seed: math.log(matched_ratio(g[g[by] == after], g[g[by] == before], column))
                for seed, g in mine.groupby("seed")
            }
        )
        for before, after in itertools.pairwise(sizes)
    }
    return pd.DataFrame(steps).rename_axis(index="seed", columns=by)


def slopes(table: pd.DataFrame, by: str, method: str, column: str = CE) -> list[float]:
    """The change of log `column` at equal L0 per e-fold of the size, from the smallest to the largest, one per seed."""
    steps = changes(table, by, method, column)
    return (steps.sum(axis=1, skipna=False) / math.log(table[by].max() / table[by].min())).tolist()


def late_differences(table: pd.DataFrame, by: str, one: str, other: str) -> list[float]:
    """The last of the `changes` of one method minus that of another, one per seed."""
    last = [changes(table, by, method).iloc[:, -1] for method in (one, other)]
    return cast(pd.Series, last[0] - last[1]).tolist()


def between(one: pd.DataFrame, other: pd.DataFrame, column: str = CE) -> list[float]:
    """`column` of one method's runs over another's at equal L0, one geometric mean for each seed that both have."""
    seeds = sorted(set(one.seed) & set(other.seed))
    return [matched_ratio(one[one.seed == seed], other[other.seed == seed], column) for seed in seeds]
