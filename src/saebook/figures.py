"""The book's figures: one style, one colour per method, in every chapter."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from saebook.stats import pareto_front, t_interval

# Okabe and Ito's colours: told apart with any colour vision, and in grey by their lightness.
PALETTE = {"relu": "#0072B2", "baseline": "#0072B2", "gated": "#D55E00", "topk": "#009E73"}
LABELS = {"relu": "baseline (ReLU + L1)", "baseline": "baseline (ReLU + L1)", "gated": "Gated", "topk": "TopK"}


def style() -> None:
    """The style of every figure: white ground (legible on a dark page too), light grid, type that a phone can show."""
    sns.set_theme(
        context="notebook", style="whitegrid", rc={"figure.dpi": 130, "savefig.facecolor": "white", "font.size": 11}
    )


def sweep_curve(ax, table: pd.DataFrame, method: str) -> None:
    """One method's sweep: a dot per SAE, a line through the means over seeds, 95 % t intervals over seeds both ways.

    `table` has columns method, sparsity, seed, l0, loss_recovered.
    """
    mine = table[table.method == method]
    colour = PALETTE[method]
    ax.scatter(mine.l0, mine.loss_recovered, s=14, color=colour, alpha=0.5, linewidths=0, zorder=3)
    rows = []
    for _, group in mine.groupby("sparsity"):
        across, up = t_interval(group.l0.to_list()), t_interval(group.loss_recovered.to_list())
        rows.append((across.mean, up.mean, across, up))
    rows.sort(key=lambda r: r[0])
    ax.plot([r[0] for r in rows], [r[1] for r in rows], color=colour, label=LABELS[method], zorder=2)
    for x, y, across, up in rows:
        if across.n > 1:
            low, high = max(across.low, x / 10), across.high
            ax.errorbar(
                x,
                y,
                xerr=[[x - low], [high - x]],
                yerr=[[y - up.low], [up.high - y]],
                color=colour,
                capsize=3,
                linewidth=1.2,
            )


def ours_beside_paper(table: pd.DataFrame, paper: pd.DataFrame, site: str = "Resid") -> Figure:
    """Loss recovered against L0: our sweep on the left, the published rows of `site` on the right.

    `paper` has columns model, sae_type, site, layer, L0, pct_CE_recovered (per cent); rows with an impossible L0 are left out.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.3), layout="constrained")
    for method in table.method.unique():
        sweep_curve(left, table, method)
    left.set(xscale="log", xlabel="L0 (active features per token)", ylabel="loss recovered", title="this book")
    left.legend(loc="lower right")
    rows = paper[(paper.site == site) & (paper.L0 > 0)]
    for (_, _, kind), group in rows.groupby(["model", "layer", "sae_type"]):
        front = group[pareto_front(group.L0, group.pct_CE_recovered)].sort_values("L0")
        right.plot(front.L0, front.pct_CE_recovered / 100, marker=".", linewidth=0.9, color=PALETTE[kind], alpha=0.75)
    for kind in ("baseline", "gated"):
        right.plot([], [], color=PALETTE[kind], label=LABELS[kind])
    shown = rows.pct_CE_recovered / 100
    bottom = float(np.floor(shown.quantile(0.1) * 20) / 20)
    hidden = int((shown < bottom).sum())
    right.set(
        xscale="log",
        xlabel="L0",
        xlim=(5, 300),
        ylim=(bottom, 1.005),
        title=f"paper, {site} ({hidden} points lie below)",
    )
    right.legend(loc="lower right")
    plt.close(figure)
    return figure
