"""The learning rate of least error, between the rates of a grid, and how it goes with the width (Top-k paper, Figure 3)."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from saebook.common.errors import UserError
from saebook.evaluation.scaling_law import log_slope
from saebook.training.config import Method

INSIDE, LOWEST, HIGHEST = "between two rates", "at the lowest rate", "at the highest rate"


def with_rates(table: pd.DataFrame, methods: Sequence[Method]) -> pd.DataFrame:
    """A sweep's table with the column `lr`; methods are told apart by name and width."""
    rates = {(method.name or method.architecture, method.d_sae): method.training.lr for method in methods}
    return table.assign(lr=[rates[row] for row in zip(table.method, table.d_sae, strict=True)])


def best_rate(rates: ArrayLike, errors: ArrayLike) -> tuple[float, str]:
    """The rate at the bottom of the parabola through the least error and its two neighbours in log-log space, and where it lies.

    At an end of the grid it is that end, which is no minimum, and says so. Raises `UserError` for fewer than three
    rates, or for a rate or an error that is not a positive number.
    """
    x, y = np.asarray(rates, float), np.asarray(errors, float)
    if len(np.unique(x)) < 3 or len(x) != len(y) or not all((np.isfinite(v) & (v > 0)).all() for v in (x, y)):
        raise UserError("a best rate is read off errors at three or more rates, all of them positive numbers")
    order = np.argsort(x)
    x, y = np.log(x[order]), np.log(y[order])
    i = int(y.argmin())
    if i in (0, len(x) - 1):
        return float(np.asarray(rates, float)[order[i]]), LOWEST if i == 0 else HIGHEST
    curvature, slope, _ = np.polyfit(x[i - 1 : i + 2] - x[i], y[i - 1 : i + 2], 2)
    return math.exp(x[i] - (slope / (2 * curvature) if curvature > 0 else 0.0)), INSIDE


def by_width(table: pd.DataFrame) -> pd.DataFrame:
    """The best rate of each width and seed of a table with the column `lr`: columns d_sae, seed, rate, place."""
    rows = []
    for (width, seed), one in table.groupby(["d_sae", "seed"]):
        rate, place = best_rate(one.lr, one.normalised_mse)
        rows.append({"d_sae": width, "seed": seed, "rate": rate, "place": place})
    return pd.DataFrame(rows)


def exponents(best: pd.DataFrame) -> list[float]:
    """The slope of log best rate against log width, one per seed; NaN for a seed where some width has its best at an end."""
    slopes = []
    for _, one in best.groupby("seed"):
        inside = bool((one.place == INSIDE).all())
        slopes.append(log_slope(one.d_sae, one.rate) if inside else math.nan)
    return slopes


def carried_over(table: pd.DataFrame, best: pd.DataFrame, slopes: dict[str, float]) -> pd.Series:
    """The error of the widest at a rate carried over from the narrowest by each of `slopes`, over its least error.

    Geometric means over seeds. NaN where the slope is unknown or the rate lies outside the grid: nothing is extrapolated.
    """
    narrow, wide = best.d_sae.min(), best.d_sae.max()
    start = float(np.exp(np.log(best[best.d_sae == narrow].rate).mean()))
    errors = table[table.d_sae == wide].groupby("lr").normalised_mse.agg(lambda e: float(np.exp(np.log(e).mean())))
    x, y = np.log(errors.index.to_numpy(float)), np.log(errors.to_numpy())
    rates = {words: math.log(start) + slope * math.log(wide / narrow) for words, slope in slopes.items()}
    costs = {words: np.exp(np.interp(rate, x, y, math.nan, math.nan) - y.min()) for words, rate in rates.items()}
    return pd.Series(costs, dtype=float)
