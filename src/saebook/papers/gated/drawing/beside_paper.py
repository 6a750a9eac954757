"""Our results beside the Gated paper's published rows (Figures 5 to 7 and Tables 1 to 8)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from saebook.evaluation.intervals import pareto_front
from saebook.plotting.curves import QUANTITIES, sweep_curve
from saebook.plotting.style import L0_AXIS, finished, logarithmic, look, plain_numbers, style


def pareto_curves(table: pd.DataFrame, paper: pd.DataFrame, site: str = "Resid") -> Figure:
    """Loss recovered against L0: our sweep on the left, the published rows of `site` on the right.

    `paper` has columns model, sae_type, site, layer, L0, pct_CE_recovered (per cent). Rows with an impossible L0 are left
    out. The right panel shows one Pareto front for each model, layer and architecture. It says how many of their points lie
    below its axis, for a few very low ones would flatten all others into one line.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for method in sorted(table.method.unique()):
        sweep_curve(left, table, method)
    left.set(xlabel=L0_AXIS, ylabel="loss recovered", title="this book")
    logarithmic(left.xaxis)
    rows, drawn = paper[(paper.site == site) & (paper.L0 > 0)], []
    for (_, _, sae_type), group in rows.groupby(["model", "layer", "sae_type"]):
        front = group[pareto_front(group.L0, group.pct_CE_recovered)].sort_values("L0")
        drawn += (front.pct_CE_recovered / 100).to_list()
        right.plot(
            front.L0,
            front.pct_CE_recovered / 100,
            marker=look(str(sae_type)).marker,
            markersize=3,
            linewidth=0.9,
            color=look(str(sae_type)).colour,
            alpha=0.75,
        )
    bottom = float(np.floor(np.quantile(drawn, 0.1) * 20) / 20) if drawn else 0.0
    below = sum(share < bottom for share in drawn)
    right.set(
        xscale="log", xlabel=L0_AXIS, ylim=(bottom, 1.005), title=f"paper, {site}",
        ylabel="loss recovered" + (f" ({below} points lie below)" if below else ""),
    )  # fmt: skip
    return finished(figure, left)


def bias(table: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Relative reconstruction bias against L0: our sweep on the left, every published row on the right, and a line at one.

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
    for sae_type, group in rows.groupby("sae_type"):
        drawn = look(str(sae_type))
        right.scatter(group.L0, group[column], s=14, color=drawn.colour, marker=drawn.marker, alpha=0.6, linewidths=0)
    for ax, title in ((left, "this book"), (right, "paper, all models and sites")):
        ax.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
        ax.set(xlabel=L0_AXIS, ylabel=name, title=title)
    if outside:
        right.set_title(f"paper, all models and sites ({outside} rows lie outside)")
    logarithmic(left.xaxis)
    right.set(xscale="log", ylim=(low, high))
    return finished(figure, left)


def alive(printed: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Share of latents alive against L0: our rows on the left, the published ones on the right, Pareto-optimal rows filled.

    Both tables have the paper's columns and `pareto`; rows with an impossible L0 are left out.
    """
    style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    for ax, table, title in zip(axes, (printed, paper), ("this book", "paper, all models and sites"), strict=True):
        for sae_type, group in table[table.L0 > 0].groupby("sae_type"):
            drawn = look(str(sae_type))
            for optimal, face in ((True, drawn.colour), (False, "none")):
                mine = group[group.pareto == optimal]
                label = f"{drawn.label}, {'' if optimal else 'not '}Pareto-optimal"
                ax.scatter(
                    mine.L0,
                    mine.pct_alive,
                    s=18,
                    marker=drawn.marker,
                    facecolors=face,
                    edgecolors=drawn.colour,
                    linewidths=0.8,
                    label=label,
                )
        ax.set(xscale="log", xlabel=L0_AXIS, title=title, ylim=(-3, 103))
        plain_numbers(ax.xaxis)
    axes[0].set_ylabel("latents alive (%)")
    return finished(figure, axes[0], 2)


def published_ratings(ratings: pd.DataFrame) -> Figure:
    """Published label differences with their 90 % intervals and p values, one line per scope; no dot where no mean is printed."""
    style()
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    places = range(len(ratings))[::-1]
    ax.axvline(0, color="0.3", linewidth=1, linestyle=":")
    ax.hlines(places, ratings.low, ratings.high, color=look("gated").colour, linewidth=2)
    ax.scatter(ratings.mean_difference, places, color=look("gated").colour, zorder=3)
    right = ratings.high.max() + 0.05
    for place, p in zip(places, ratings.p, strict=True):
        ax.text(right, place, f"p = {p:g}", va="center", fontsize=10)
    ax.set(
        xlim=(ratings.low.min() - 0.08, right + 0.18), ylim=(-0.6, len(ratings) - 0.4), yticks=list(places),
        yticklabels=list(ratings.scope), xlabel="mean label difference, Gated minus baseline (labels 0 to 2)",
    )  # fmt: skip
    ax.grid(axis="y", visible=False)
    plt.close(figure)
    return figure
