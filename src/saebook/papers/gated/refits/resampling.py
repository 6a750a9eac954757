"""The share of Gated's gap that dead latents of the baseline explain: with and without resampling, and in the paper's rows."""

from typing import cast

import numpy as np
import pandas as pd

from saebook.evaluation.pareto import published_ratios, ratio_per_seed


def change(table: pd.DataFrame) -> list[float]:
    """The L0 ratio of Gated to baseline without resampling over that with it, seed by seed; one where it makes no difference."""
    without = ratio_per_seed(table, "gated_not_resampled", "relu_not_resampled")
    return [a / b for a, b in zip(without, ratio_per_seed(table, "gated", "relu"), strict=True)]


def at_same_lambda(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """`column` with resampling and without it at the same architecture, lambda and seed: columns method, sparsity, seed, on, off."""
    off = table[table.method.str.endswith("_not_resampled")]
    off = off.assign(method=off.method.str.removesuffix("_not_resampled"))
    keys = ["method", "sparsity", "seed"]
    return (
        table[[*keys, column]]
        .merge(off[[*keys, column]], on=keys, suffixes=("", "_off"))
        .set_axis([*keys, "on", "off"], axis=1)
    )


def raised(table: pd.DataFrame) -> tuple[list[float], list[float]]:
    """The effect of resampling at the same lambda: the ratio of L0, and the difference in loss recovered, one of each per seed.

    Means over both architectures and all lambdas; L0 on the log scale.
    """
    l0, loss = at_same_lambda(table, "l0"), at_same_lambda(table, "loss_recovered")
    logs = cast(pd.Series, np.log(l0.on / l0.off))
    ratios = np.exp(logs.groupby(l0.seed).mean())
    return ratios.tolist(), (loss.on - loss.off).groupby(loss.seed).mean().tolist()


def published_by_alive(paper: pd.DataFrame, floors: tuple[float, ...] = (50.0, 80.0, 90.0)) -> pd.DataFrame:
    """The published L0 ratio where only SAEs with at least `floors` per cent of their latents alive count.

    One row per model and floor: the median over the sites and layers where both architectures have a front left, from all rows and
    from those above the floor. Both medians are over the same sites, so that a missing site does not look like an effect.
    """
    every = published_ratios(paper).set_index(["model", "site", "layer"]).ratio
    rows = []
    for floor in floors:
        above = published_ratios(paper[paper.pct_alive >= floor]).set_index(["model", "site", "layer"]).ratio
        both = pd.concat({"all": every, "above": above}, axis=1).dropna()
        rows += [
            {
                "model": model, "at least alive (%)": floor, "all rows": g["all"].median(),
                "rows above": g["above"].median(), "sites and layers": len(g),
            }
            for model, g in both.groupby("model")
        ]  # fmt: skip
    return pd.DataFrame(rows).set_index(["model", "at least alive (%)"])
