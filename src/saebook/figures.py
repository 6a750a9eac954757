"""The book's figures: one style, one colour per method, in every chapter."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from saebook.stats import pareto_front, t_interval

# Okabe and Ito's colours: told apart with any colour vision, and in grey by their lightness.
PALETTE = {
    "relu": "#0072B2", "baseline": "#0072B2", "gated": "#D55E00", "topk": "#009E73", "prolu_relu": "#CC79A7",
    "prolu_ste": "#56B4E9",
}  # fmt: skip
LABELS = {
    "relu": "baseline (ReLU + L1)", "baseline": "baseline (ReLU + L1)", "gated": "Gated", "topk": "TopK",
    "prolu_relu": "ProLU, ReLU gradient", "prolu_ste": "ProLU, straight-through",
}  # fmt: skip


def style() -> None:
    """The style of every figure: white ground (legible on a dark page too), light grid, type that a phone can show."""
    sns.set_theme(
        context="notebook", style="whitegrid", rc={"figure.dpi": 150, "savefig.facecolor": "white", "font.size": 11}
    )


# what is drawn over L0 -> (its name on an axis, the column of the published tables, what brings that to our unit)
QUANTITIES = {
    "loss_recovered": ("loss recovered", "pct_CE_recovered", 0.01),
    "relative_reconstruction_bias": ("relative reconstruction bias", "gamma", 1.0),
}


def sweep_curve(ax, table: pd.DataFrame, method: str, quantity: str = "loss_recovered") -> None:
    """One method's sweep: a dot per SAE, a line through the means over seeds, bars of 95 % t intervals both ways.

    `table` has columns method, sparsity, seed, l0 and `quantity`. With one seed there are no bars. The lower end of an
    interval of L0 stops at a tenth of its mean: the end may lie below zero, which a log axis cannot show.
    """
    mine = table[table.method == method]
    colour = PALETTE[method]
    ax.scatter(mine.l0, mine[quantity], s=14, color=colour, alpha=0.5, linewidths=0, zorder=3)
    intervals = [
        (t_interval(group.l0.to_list()), t_interval(group[quantity].to_list())) for _, group in mine.groupby("sparsity")
    ]
    intervals.sort(key=lambda pair: pair[0].mean)
    means = [(across.mean, up.mean) for across, up in intervals]
    ax.plot(*zip(*means, strict=True), color=colour, label=LABELS[method], zorder=2)
    for across, up in intervals:
        if across.n > 1:
            low = max(across.low, across.mean / 10)
            ax.errorbar(
                across.mean, up.mean, xerr=[[across.mean - low], [across.high - across.mean]],
                yerr=[[up.mean - up.low], [up.high - up.mean]], color=colour, capsize=3, linewidth=1.2,
            )  # fmt: skip


def ours_beside_paper(table: pd.DataFrame, paper: pd.DataFrame, site: str = "Resid") -> Figure:
    """Loss recovered against L0: our sweep on the left, the published rows of `site` on the right.

    `paper` has columns model, sae_type, site, layer, L0, pct_CE_recovered (per cent). Rows with an impossible L0 are left
    out. The right panel shows one Pareto front for each model, layer and kind, and says how many of their points lie
    below its axis: a few very low ones would press all others into one line.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for method in sorted(table.method.unique()):
        sweep_curve(left, table, method)
    left.set(xscale="log", xlabel="L0 (active features per token)", ylabel="loss recovered", title="this book")
    rows, drawn = paper[(paper.site == site) & (paper.L0 > 0)], []
    for (_, _, kind), group in rows.groupby(["model", "layer", "sae_type"]):
        front = group[pareto_front(group.L0, group.pct_CE_recovered)].sort_values("L0")
        drawn += (front.pct_CE_recovered / 100).to_list()
        right.plot(front.L0, front.pct_CE_recovered / 100, marker=".", linewidth=0.9, color=PALETTE[kind], alpha=0.75)
    bottom = float(np.floor(np.quantile(drawn, 0.1) * 20) / 20) if drawn else 0.0
    below = sum(share < bottom for share in drawn)
    right.set(
        xscale="log", xlabel="L0 (active features per token)", ylim=(bottom, 1.005), title=f"paper, {site}",
        ylabel="loss recovered" + (f" ({below} points lie below)" if below else ""),
    )  # fmt: skip
    return _finished(figure, left)


def bias_beside_paper(table: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Relative reconstruction bias against L0: our sweep on the left, every published row on the right, one as a line.

    Published rows with an impossible L0 are left out; the panel says how many of the rest lie outside its axis.
    """
    style()
    name, column, _ = QUANTITIES["relative_reconstruction_bias"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for method in sorted(table.method.unique()):
        sweep_curve(left, table, method, "relative_reconstruction_bias")
    rows = paper[paper.L0 > 0]
    low, high = 0.5, 1.25
    outside = int((~rows[column].between(low, high)).sum())
    for kind, group in rows.groupby("sae_type"):
        right.scatter(group.L0, group[column], s=14, color=PALETTE[kind], alpha=0.6, linewidths=0)
    for ax, title in ((left, "this book"), (right, "paper, all models and sites")):
        ax.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
        ax.set(xscale="log", xlabel="L0 (active features per token)", ylabel=name, title=title)
    if outside:
        right.set_title(f"paper, all models and sites ({outside} rows lie outside)")
    right.set(ylim=(low, high))
    return _finished(figure, left)


def truth_and_reading(table: pd.DataFrame) -> Figure:
    """One panel per metric of `table` (columns metric, truth, read): what was read against what was planted."""
    style()
    metrics = list(table.metric.unique())
    figure, axes = plt.subplots(2, math.ceil(len(metrics) / 2), figsize=(9, 6), layout="constrained")
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    for ax, metric in zip(axes.flat, metrics, strict=False):
        mine = table[table.metric == metric]
        ends = [min(mine.truth.min(), mine.read.min()), max(mine.truth.max(), mine.read.max())]
        ax.plot(ends, ends, color="0.3", linewidth=1, linestyle=":", zorder=1)
        ax.scatter(mine.truth, mine.read, s=22, color=PALETTE["relu"], alpha=0.6, linewidths=0, zorder=2)
        ax.set(title=metric, xlabel="planted", ylabel="read")
    plt.close(figure)
    return figure


def _finished(figure: Figure, panel) -> Figure:
    # One legend for all panels, outside them, so that it covers no data.
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    plt.close(figure)
    return figure
