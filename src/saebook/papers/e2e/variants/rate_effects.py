"""What a learning rate does to the elements that are alive, and to L0 in the course of training (e2e paper, Figures 13 to 15)."""

import numpy as np
import pandas as pd

from saebook.evaluation.scaling_law import log_slope
from saebook.papers.e2e.comparison import ALIVE

_NEAR = 0.05  # of a run: readings of a single batch so near to a point are averaged


def alive_slopes(table: pd.DataFrame) -> pd.DataFrame:
    """The slope of log alive elements against log `lr` for every seed and objective: columns method, seed, slope.

    Slopes of several sparsities are averaged. NaN where an SAE has no element alive.
    """
    keys = ["method", "sparsity", "seed"]
    slopes = [(*names, log_slope(g.lr, g[ALIVE])) for names, g in table.groupby(keys)]
    each = pd.DataFrame(slopes, columns=[*keys, "slope"])
    return each.groupby(["method", "seed"]).slope.mean().reset_index()


def l0_at(steps: np.ndarray, l0: np.ndarray, share: float) -> float:
    """L0 at a `share` of a run: the mean of the readings near it, or a line between neighbours where none is near."""
    wanted = share * steps[-1]
    near = np.abs(steps - wanted) <= _NEAR * steps[-1]
    return float(l0[near].mean() if near.any() else np.interp(wanted, steps, l0))


def drifts(history: pd.DataFrame, from_share: float = 1 / 3) -> pd.DataFrame:
    """L0 at the end of each run over L0 at `from_share` of it: a sweep's `histories` to columns method, sparsity, seed, drift."""
    rows = []
    for (method, sparsity, seed), g in history.groupby(["method", "sparsity", "seed"]):
        curve = g.sort_values("step")
        steps, l0 = curve.step.to_numpy(float), curve.l0.to_numpy(float)
        ratio = l0_at(steps, l0, 1.0) / l0_at(steps, l0, from_share)
        rows.append({"method": method, "sparsity": sparsity, "seed": seed, "drift": ratio})
    return pd.DataFrame(rows)


def drift_slopes(drifts: pd.DataFrame) -> pd.DataFrame:
    """The slope of `drift` against log `lr` by least squares, for every seed and objective: columns method, seed, slope."""
    rows = [
        (method, sparsity, seed, np.polyfit(np.log(g.lr), g.drift, 1)[0])
        for (method, sparsity, seed), g in drifts.groupby(["method", "sparsity", "seed"])
    ]
    each = pd.DataFrame(rows, columns=["method", "sparsity", "seed", "slope"])
    return each.groupby(["method", "seed"]).slope.mean().reset_index()


def over_objectives(slopes: pd.DataFrame) -> list[float]:
    """The mean slope over objectives, one per seed."""
    return slopes.groupby("seed").slope.mean().tolist()
