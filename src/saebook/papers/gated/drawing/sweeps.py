"""Figures of the Gated chapters: ours beside the paper's, many sites at once, published statistics."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from saebook.evaluation.intervals import pareto_front
from saebook.plotting.curves import LABELS, PALETTE, QUANTITIES, finished, logarithmic, style, sweep_curve

# A kind of site by colour and by marker: told apart without either.
SITES = {
    "resid_post": ("residual stream", "#000000", "o"), "resid_pre": ("residual stream, before", "#999999", "o"),
    "mlp_out": ("MLP output", "#009E73", "s"), "attn_z": ("attention, before W_O", "#CC79A7", "^"),
    "mlp_post": ("MLP neurons", "#E69F00", "D"),
}  # fmt: skip
_PAPER_SITES = {"Resid": "resid_post", "MLP": "mlp_out", "Attn": "attn_z"}


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
    left.set(xlabel="L0 (active features per token)", ylabel="loss recovered", title="this book")
    logarithmic(left.xaxis)
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
    return finished(figure, left)


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
        ax.set(xlabel="L0 (active features per token)", ylabel=name, title=title)
    if outside:
        right.set_title(f"paper, all models and sites ({outside} rows lie outside)")
    logarithmic(left.xaxis)
    right.set(xscale="log", ylim=(low, high))
    return finished(figure, left)


def alive_beside_paper(printed: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Share of latents alive against L0: our rows on the left, the published ones on the right, Pareto-optimal rows filled.

    Both tables have the paper's columns and `pareto`; rows with an impossible L0 are left out.
    """
    style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    for ax, table, title in zip(axes, (printed, paper), ("this book", "paper, all models and sites"), strict=True):
        for kind, group in table[table.L0 > 0].groupby("sae_type"):
            for optimal, face in ((True, PALETTE[kind]), (False, "none")):
                mine = group[group.pareto == optimal]
                label = f"{LABELS[kind]}, {'' if optimal else 'not '}Pareto-optimal"
                ax.scatter(
                    mine.L0,
                    mine.pct_alive,
                    s=18,
                    facecolors=face,
                    edgecolors=PALETTE[kind],
                    linewidths=0.8,
                    label=label,
                )
        ax.set(xscale="log", xlabel="L0 (active features per token)", title=title, ylim=(-3, 103))
        _plain(ax.xaxis)
    axes[0].set_ylabel("latents alive (%)")
    return finished(figure, axes[0], 2)


def ablation_costs(ours: pd.DataFrame, paper: pd.DataFrame, tiny: float) -> Figure:
    """What zero ablation costs at each layer, by kind of site: ours with intervals, then each model of the paper; log axis.

    The band below `tiny` nats is where loss recovered says little. A cost that is not positive is drawn at the band's floor.
    """
    style()
    models = list(paper.model.unique())
    figure, axes = plt.subplots(1, 1 + len(models), figsize=(9, 4.2), layout="constrained", sharey=True)
    floor, top = tiny / 40, 1.6 * max(ours.high.max(), paper.cost.max())
    for ax, table, title in zip(
        axes, (ours, *(paper[paper.model == m] for m in models)), ("this book", *models), strict=True
    ):
        ax.axhspan(floor, tiny, color="0.9", zorder=0)
        for site, group in table.groupby("site", sort=False):
            name, colour, marker = SITES[site]
            cost = group.cost.clip(lower=floor)
            ax.plot(group.layer, cost, color=colour, marker=marker, markersize=5, linewidth=1, label=name)
            if "low" in group:
                spread = [cost - group.low.clip(lower=floor), group.high.clip(lower=floor) - cost]
                ax.errorbar(group.layer, cost, yerr=np.maximum(spread, 0), color=colour, capsize=3, linewidth=0)
        ax.set(yscale="log", xlabel="layer", title=title, xticks=sorted(table.layer.unique()), ylim=(floor, top))
    axes[0].set_ylabel("nats per token lost by zero ablation")
    _plain(axes[0].yaxis)
    return finished(figure, axes[0], 4)


def published_ratings(found: pd.DataFrame) -> Figure:
    """Published label differences with their 90 % intervals and p values, one line per scope; no dot where no mean is printed."""
    style()
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    places = range(len(found))[::-1]
    ax.axvline(0, color="0.3", linewidth=1, linestyle=":")
    ax.hlines(places, found.low, found.high, color=PALETTE["gated"], linewidth=2)
    ax.scatter(found.mean_difference, places, color=PALETTE["gated"], zorder=3)
    right = found.high.max() + 0.05
    for place, p in zip(places, found.p, strict=True):
        ax.text(right, place, f"p = {p:g}", va="center", fontsize=10)
    ax.set(
        xlim=(found.low.min() - 0.08, right + 0.18), ylim=(-0.6, len(found) - 0.4), yticks=list(places),
        yticklabels=list(found.scope), xlabel="mean label difference, Gated less baseline (labels 0 to 2)",
    )  # fmt: skip
    ax.grid(axis="y", visible=False)
    plt.close(figure)
    return figure


def sites_grid(table: pd.DataFrame, quantity: str = "loss_recovered") -> Figure:
    """`quantity` against L0 at every site (rows) and layer (columns), Gated and baseline; `table` is `sweep.across`'."""
    style()
    kinds, layers = list(table.site.unique()), sorted(table.layer.unique())
    size = (max(4.0, 2.1 * len(layers) + 0.8), 1.9 * len(kinds) + 0.9)
    figure, axes = plt.subplots(len(kinds), len(layers), figsize=size, layout="constrained", sharex=True, squeeze=False)
    for row, kind in zip(axes, kinds, strict=True):
        for ax, layer in zip(row, layers, strict=True):
            mine = table[(table.site == kind) & (table.layer == layer)]
            for method in sorted(mine.method.unique()):
                sweep_curve(ax, mine, method, quantity)
            ax.set(xscale="log")
            ax.set_title(f"{SITES[kind][0]}, layer {layer}", fontsize=9)
            ax.tick_params(labelsize=8)
            _plain(ax.xaxis, (1, 10, 100))
    for ax in axes[-1]:
        ax.set_xlabel("L0 (per token)", fontsize=9)
    figure.supylabel(QUANTITIES[quantity][0], fontsize=10)
    return finished(figure, axes[0, 0], 2)


def sites_summary(
    ratios: pd.DataFrame, biases: dict[str, pd.DataFrame], published: pd.DataFrame, paper: pd.DataFrame
) -> Figure:
    """L0 ratio (left) and relative reconstruction bias of each kind (right) at every site, with 95 % intervals over seeds.

    Crosses behind them are the published values of the same kind of site: `published` ratios per model, site and layer;
    the median bias of each model, site, layer and kind from the rows of `paper`.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.34 * len(ratios) + 1.8), layout="constrained", sharey=True)
    places = np.arange(len(ratios))[::-1]
    names = [f"{SITES[site][0]}, {layer}" for site, layer in zip(ratios.site, ratios.layer, strict=True)]
    _intervals(left, ratios, places, "black", "")
    for shift, (method, found) in zip((0.13, -0.13), biases.items(), strict=True):
        _intervals(right, found, places + shift, PALETTE[method], LABELS[method])
    medians = paper[paper.L0 > 0].groupby(["sae_type", "model", "site", "layer"]).gamma.median().reset_index()
    for kind, group in ratios.assign(place=places).groupby("site", sort=False):
        ends = group.place.min() - 0.35, group.place.max() + 0.35
        theirs = published[published.site.map(_PAPER_SITES) == kind].ratio.dropna()
        left.scatter(theirs, np.linspace(*ends, len(theirs)), marker="x", s=14, color="0.6", linewidths=0.9, zorder=1)
        for sae_type, rows in medians[medians.site.map(_PAPER_SITES) == kind].groupby("sae_type"):
            right.scatter(
                rows.gamma,
                np.linspace(*ends, len(rows)),
                marker="x",
                s=14,
                color=PALETTE[sae_type],
                alpha=0.45,
                linewidths=0.9,
            )
    for ax in (left, right):
        ax.axvline(1.0, color="0.3", linewidth=1, linestyle=":")
    left.set(xscale="log", xlabel="L0 ratio, Gated over baseline", yticks=places, yticklabels=names)
    right.set(xlabel="relative reconstruction bias")
    _plain(left.xaxis, (0.05, 0.1, 0.2, 0.5, 1, 2))
    left.set_ylim(-0.6, len(ratios) - 0.4)
    return finished(figure, right, 2)


def _intervals(ax, found: pd.DataFrame, places: np.ndarray, colour: str, label: str) -> None:
    """Dots with intervals; one without limits is a bare dot, and a site without a value is left out."""
    known = found["mean"].notna().to_numpy()
    mean = found["mean"][known]
    limited = np.isfinite(found.low[known]) & np.isfinite(found.high[known])
    low, high = found.low[known].where(limited, mean), found.high[known].where(limited, mean)
    low = low.clip(lower=mean / 10)  # a log axis knows no zero
    ax.errorbar(
        mean, places[known], xerr=[mean - low, high - mean], fmt="o", markersize=4.5, color=colour, capsize=2.5, linewidth=1.2,
        label=label, zorder=3,
    )  # fmt: skip


def _plain(axis, at: tuple[float, ...] | None = None) -> None:
    """Plain numbers on a log axis instead of powers of ten; `at` names the ticks."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    if at:
        axis.set_major_locator(FixedLocator(at))
        axis.set_minor_locator(NullLocator())
