"""Figure 1 at several depths: ratios per layer, and the paper's Tables 2 and 3 by rule (e2e paper, appendix A)."""

import itertools
from collections.abc import Callable
from typing import cast

import numpy as np
import pandas as pd

from saebook.papers.e2e.comparison import ALIVE, CE, at_level, common_level


def ratios(table: pd.DataFrame, of_layer: Callable[[pd.DataFrame], list[float]]) -> pd.DataFrame:
    """`of_layer` applied to the runs of every layer: a row per seed, a column per layer."""
    columns = {layer: pd.Series(of_layer(g), sorted(g.seed.unique())) for layer, g in table.groupby("layer")}
    return pd.DataFrame(columns).rename_axis(index="seed", columns="layer")


def largest(by_layer: pd.DataFrame) -> list[float]:
    """The largest ratio over layers, one per seed; NaN for a seed without a value at some layer."""
    return by_layer.max(axis=1, skipna=False).tolist()


def geometric_mean(by_layer: pd.DataFrame) -> list[float]:
    """The geometric mean over layers, one per seed; NaN for a seed without a value at some layer."""
    return np.exp(cast(pd.DataFrame, np.log(by_layer)).mean(axis=1, skipna=False)).tolist()


def with_method(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """The runs of those layers where `method` was trained."""
    return table[table.layer.isin(table.layer[table.method == method].unique())]


def pairs_of_similar_l0(table: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """The rule for Table 3: of each layer and seed the two runs, one of each method, whose L0 is nearest to equal, as a ratio.

    Columns layer, seed, L0 and the added cross-entropy of both, and `ratio`, that of `one` over that of `other`.
    """
    rows = []
    for (layer, seed), g in table.groupby(["layer", "seed"]):
        left, right = (g[(g.method == method) & (g.l0 > 0)].to_dict("records") for method in (one, other))
        pairs = list(itertools.product(left, right))
        if not pairs:
            continue
        a, b = min(pairs, key=lambda pair: abs(np.log(pair[0]["l0"] / pair[1]["l0"])))
        row = {"layer": layer, "seed": seed, f"L0 {one}": a["l0"], f"L0 {other}": b["l0"]}
        rows.append(
            row | {f"{CE} {one}": a[CE], f"{CE} {other}": b[CE], "ratio": a[CE] / b[CE] if b[CE] > 0 else np.nan}
        )
    return pd.DataFrame(rows)


def ratio_of_pairs(table: pd.DataFrame, one: str, other: str) -> list[float]:
    """The geometric mean over layers of the ratio of `pairs_of_similar_l0`, one per seed."""
    pairs = pairs_of_similar_l0(table, one, other)
    return geometric_mean(pairs.pivot(index="seed", columns="layer", values="ratio"))


def similar_loss(table: pd.DataFrame) -> pd.DataFrame:
    """The rule for Table 2: L0 and alive elements of every method at each layer's `common_level`, as means over seeds."""
    parts = []
    for layer, g in table.groupby("layer"):
        level = common_level(g)
        means = at_level(g, level).groupby("method")[["l0", ALIVE]].mean()
        parts.append(means.assign(layer=layer, **{CE: level}).reset_index())
    return pd.concat(parts, ignore_index=True)
