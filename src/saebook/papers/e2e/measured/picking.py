"""Runs of several objectives made comparable: read off at equal added cross-entropy, or picked as the e2e paper picks them.

The paper compares runs "of similar" added cross-entropy or L0, picked by hand (Tables 2 and 3). Here the level is the
geometric middle of what every sweep reaches. A quantity is interpolated there, or taken from the runs that lie nearest.
"""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd

from saebook.papers.e2e.comparison import ALIVE, CE, common_level

OF_RUN = ["method", "seed", "sparsity", CE, "l0", ALIVE]  # what a line of measurements says of its run


def at_level(
    measured: pd.DataFrame, columns: Sequence[str], level: float, at: str = CE, by: Sequence[str] = ()
) -> pd.DataFrame:
    """Each of `columns` where `at` is `level`, along each sweep (method and seed, and `by`), linear in the logarithm of `at`.

    Unlike `comparison.at_level` the values may be negative. NaN outside a sweep: nothing is extrapolated.
    """
    keys, lines = ["method", "seed", *by], []
    for names, group in measured[measured[at] > 0].groupby(keys, sort=False):
        curve = group.sort_values(at)
        x = np.log(curve[at].to_numpy(float))
        values = {
            column: float(np.interp(math.log(level), x, curve[column].to_numpy(float), left=math.nan, right=math.nan))
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


def between_seeds(values: pd.DataFrame, column: str, method: str = "local") -> float:
    """The control: the largest difference of `column` between two seeds of one method; NaN without two seeds to compare."""
    mine = values[values.method == method].groupby("seed")[column].mean().dropna()
    return max((abs(one - other) for one, other in itertools.combinations(mine, 2)), default=math.nan)


def in_words(difference: float, digits: int = 4) -> str:
    """A difference as a page prints it."""
    return f"{difference:.{digits}f}" if math.isfinite(difference) else "no value, as no two seeds can be compared"
