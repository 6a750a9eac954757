"""Runs of several objectives made comparable: read off at equal added cross-entropy, or picked as the e2e paper picks them.

The paper compares runs "of similar" added cross-entropy or L0, picked by hand (Tables 2 and 3). Here the level is the
geometric middle of what every sweep reaches. A quantity is interpolated there, or taken from the runs that lie nearest.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd

from saebook.evaluation.intervals import Interval, joint_level, t_interval
from saebook.evaluation.pareto import finite
from saebook.papers.e2e.comparison import ALIVE, CE, common_level, differences

OF_RUN = ["method", "seed", "sparsity", CE, "l0", ALIVE]  # what a line of measurements says of its run
# The paper's order, local above e2e+ds above e2e, as two steps in words: each a method and the one to take away from it.
ORDER = {"local minus e2e+ds": ("local", "e2e+ds"), "e2e+ds minus e2e": ("e2e+ds", "e2e")}


def at_level(
    measured: pd.DataFrame, columns: Sequence[str], level: float, at: str = CE, by: Sequence[str] = ()
) -> pd.DataFrame:
    """Each of `columns` where `at` is `level`, along each sweep (method and seed, and `by`), linear in the logarithm of `at`.

    Unlike `comparison.at_level` the values may be negative. NaN outside a sweep, or where none of its `at` is above zero:
    nothing is extrapolated.
    """
    keys, lines = ["method", "seed", *by], []
    for names, group in measured.groupby(keys, sort=False):
        curve = group[group[at] > 0].sort_values(at)
        x = np.log(curve[at].to_numpy(float))
        values = {
            column: float(np.interp(math.log(level), x, curve[column].to_numpy(float), left=math.nan, right=math.nan))
            if len(x)
            else math.nan
            for column in columns
        }
        lines.append(dict(zip(keys, cast(tuple, names), strict=True)) | values)
    return pd.DataFrame(lines)


def common_l0(table: pd.DataFrame) -> float:
    """The L0 at which objectives are compared: the geometric middle of the range that every sweep reaches, as `common_level`."""
    return common_level(table.assign(**{CE: table.l0}))


def picked(measured: pd.DataFrame, level: float, at: str = CE) -> pd.DataFrame:
    """The lines of the run of each method and seed whose `at` is nearest to `level`, as a ratio."""
    runs = measured.drop_duplicates(["method", "seed", "sparsity"])
    distance = (cast(pd.Series, np.log(runs[at].clip(lower=1e-9))) - math.log(level)).abs()
    chosen = runs.loc[distance.groupby([runs.method, runs.seed]).idxmin(), ["method", "seed", "sparsity"]]
    return chosen.merge(measured, how="left")


def contrasts(values: pd.DataFrame, column: str, steps: Mapping[str, tuple[str, str]] = ORDER) -> dict[str, Interval]:
    """Differences of `column` between two methods, one interval over seeds for each of `steps`, which hold together."""
    level = joint_level(len(steps))
    return {words: t_interval(finite(differences(values, column, *pair)), level) for words, pair in steps.items()}


def between_seeds(values: pd.DataFrame, column: str, method: str = "local") -> float:
    """The control: the largest difference of `column` between two seeds of one method; NaN without two seeds to compare."""
    mine = values[values.method == method].groupby("seed")[column].mean().dropna()
    return max((abs(one - other) for one, other in itertools.combinations(mine, 2)), default=math.nan)


def in_words(difference: float, digits: int = 4) -> str:
    """A difference as a page prints it."""
    return f"{difference:.{digits}f}" if math.isfinite(difference) else "no value, as no two seeds can be compared"


def slopes_within(runs: pd.DataFrame, column: str, of: str) -> list[float]:
    """The change of `column` per e-fold of `of`, one least-squares slope per seed over the runs of all methods.

    Every method has a level of its own: a difference between methods is no slope. Runs without a value, and those whose
    `of` is not positive, are left out. NaN where `of` does not vary.
    """
    usable = runs[(runs[of] > 0) & runs[column].notna()]
    usable = usable.assign(x=np.log(usable[of].to_numpy(float)), y=usable[column].to_numpy(float))
    slopes = []
    for _, group in usable.groupby("seed"):
        x, y = (group[name] - group.groupby("method")[name].transform("mean") for name in ("x", "y"))
        spread = float((x * x).sum())
        slopes.append(float((x * y).sum()) / spread if spread > 1e-12 else math.nan)
    return slopes
