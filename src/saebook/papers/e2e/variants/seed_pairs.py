"""How far runs of one setting differ, and one method against another for every pair of seeds (e2e paper, appendix F)."""

import numpy as np
import pandas as pd

from saebook.papers.e2e.comparison import ALIVE, CE, mean_ratios


def pair_ratios(table: pd.DataFrame, one: str, other: str, column: str = CE, at: str = "l0") -> pd.DataFrame:
    """The paper's summary of Figure 1 for each seed of `one` (rows) against each seed of `other` (columns).

    With one start and one order of the text for both on the diagonal, and another off it. NaN where sweeps do not meet.
    """
    seeds = sorted(table.seed.unique())
    values = [
        [
            mean_ratios(
                pd.concat(
                    [
                        table[(table.method == method) & (table.seed == seed)].assign(seed=0)
                        for method, seed in ((one, a), (other, b))
                    ]
                ),
                one, other, column, at,
            )[0]
            for b in seeds
        ]
        for a in seeds
    ]  # fmt: skip
    return pd.DataFrame(
        values, index=pd.Index(seeds, name=f"seed of {one}"), columns=pd.Index(seeds, name=f"of {other}")
    )


def least_favourable(pairs: pd.DataFrame) -> list[float]:
    """The largest of the `pair_ratios` of each seed of the first method, whatever seed the other one has."""
    return pairs.max(axis=1, skipna=False).tolist()


def spreads(table: pd.DataFrame, columns: tuple[str, ...] = ("l0", CE, ALIVE)) -> pd.DataFrame:
    """The standard deviation over seeds over the mean, of the runs of one setting: the median over sparsities for each method.

    NaN with one seed.
    """
    settings = table.groupby(["method", "sparsity"])[list(columns)]
    relative = settings.std(ddof=1) / settings.mean()
    return relative.groupby("method").median()


def gap_in_spreads(pairs: pd.DataFrame, between: list[float]) -> float:
    """How far the two methods are apart, in units of what a seed changes: |mean log ratio| over the RMS log ratio `between` seeds."""
    noise = np.sqrt(np.mean(np.square(np.log([ratio for ratio in between if ratio > 0]))))
    return float(abs(np.log(pairs.to_numpy()).mean()) / noise)
