"""How far a gap between two kinds of SAE is that of baselines with dead latents: resampling on and off, and the paper's own rows."""

import pandas as pd

from saebook.analysis.pareto import published_ratios, ratio_per_seed


def change(table: pd.DataFrame) -> list[float]:
    """The L0 ratio of Gated to baseline without resampling over that with it, seed by seed; one where it makes no difference."""
    without = ratio_per_seed(table, "gated_not_resampled", "relu_not_resampled")
    return [a / b for a, b in zip(without, ratio_per_seed(table, "gated", "relu"), strict=True)]


def published_by_alive(paper: pd.DataFrame, floors: tuple[float, ...] = (50.0, 80.0, 90.0)) -> pd.DataFrame:
    """The published L0 ratio where only SAEs with at least `floors` per cent of their latents alive count.

    One row per model and floor: the median over the sites and layers where both kinds have a front left, from all rows and
    from those above the floor. The same sites stand on both sides, so that no site's absence looks like an effect.
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
