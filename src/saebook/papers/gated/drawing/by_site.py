"""Figures over many sites and layers at once (Gated paper, Figures 12 to 14, and the cost of zero ablation)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from saebook.papers.gated.published import SITES
from saebook.plotting.curves import QUANTITIES, sweep_curve
from saebook.plotting.style import finished, look, plain_numbers, style

# site -> (name, colour, marker); the marker tells it apart without the colour
LOOKS = {
    "resid_post": ("residual stream", "#000000", "o"), "resid_pre": ("residual stream, before", "#999999", "o"),
    "mlp_out": ("MLP output", "#009E73", "s"), "attn_z": ("attention, before W_O", "#CC79A7", "^"),
    "mlp_post": ("MLP neurons", "#E69F00", "D"),
}  # fmt: skip


def ablation_costs(ours: pd.DataFrame, paper: pd.DataFrame, tiny: float) -> Figure:
    """The cost of zero ablation at each layer, by type of site: ours with intervals, then each model of the paper; log axis.

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
            name, colour, marker = LOOKS[str(site)]
            cost = group.cost.clip(lower=floor)
            ax.plot(group.layer, cost, color=colour, marker=marker, markersize=5, linewidth=1, label=name)
            if "low" in group:
                spread = [cost - group.low.clip(lower=floor), group.high.clip(lower=floor) - cost]
                ax.errorbar(group.layer, cost, yerr=np.maximum(spread, 0), color=colour, capsize=3, linewidth=0)
        ax.set(yscale="log", xlabel="layer", title=title, xticks=sorted(table.layer.unique()), ylim=(floor, top))
    axes[0].set_ylabel("nats per token lost by zero ablation")
    plain_numbers(axes[0].yaxis)
    return finished(figure, axes[0], 4)


def curves(table: pd.DataFrame, quantity: str = "loss_recovered") -> Figure:
    """`quantity` against L0 at every site (rows) and layer (columns), Gated and baseline; `table` comes from `sweep.across`."""
    style()
    kinds, layers = list(table.site.unique()), sorted(table.layer.unique())
    size = (max(4.0, 2.4 * len(layers) + 0.8), 1.9 * len(kinds) + 0.9)
    figure, axes = plt.subplots(len(kinds), len(layers), figsize=size, layout="constrained", sharex=True, squeeze=False)
    for row, kind in zip(axes, kinds, strict=True):
        for ax, layer in zip(row, layers, strict=True):
            mine = table[(table.site == kind) & (table.layer == layer)]
            for method in sorted(mine.method.unique()):
                sweep_curve(ax, mine, method, quantity)
            ax.set(xscale="log")
            ax.set_title(f"{LOOKS[kind][0]}, layer {layer}", fontsize=9)
            ax.tick_params(labelsize=8)
            plain_numbers(ax.xaxis, (1, 10, 100))
    for ax in axes[-1]:
        ax.set_xlabel("L0 (per token)", fontsize=9)
    figure.supylabel(QUANTITIES[quantity][0], fontsize=10)
    return finished(figure, axes[0, 0], 2)


def summary(
    ratios: pd.DataFrame, biases: dict[str, pd.DataFrame], published: pd.DataFrame, paper: pd.DataFrame
) -> Figure:
    """L0 ratio (left) and relative reconstruction bias of each architecture (right) at every site, with 95 % intervals over seeds.

    Crosses behind them are the published values at the same type of site: `published` ratios per model, site and layer;
    the median bias of each model, site, layer and architecture from the rows of `paper`.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.34 * len(ratios) + 1.8), layout="constrained", sharey=True)
    places = np.arange(len(ratios))[::-1]
    names = [f"{LOOKS[site][0]}, {layer}" for site, layer in zip(ratios.site, ratios.layer, strict=True)]
    _intervals(left, ratios, places, "black", "o", "")
    for shift, (method, of_method) in zip((0.13, -0.13), biases.items(), strict=True):
        _intervals(right, of_method, places + shift, look(method).colour, look(method).marker, look(method).label)
    medians = paper[paper.L0 > 0].groupby(["sae_type", "model", "site", "layer"]).gamma.median().reset_index()
    for kind, group in ratios.assign(place=places).groupby("site", sort=False):
        ends = group.place.min() - 0.35, group.place.max() + 0.35
        theirs = published[published.site.map(SITES) == kind].ratio.dropna()
        left.scatter(theirs, np.linspace(*ends, len(theirs)), marker="x", s=14, color="0.6", linewidths=0.9, zorder=1)
        for sae_type, rows in medians[medians.site.map(SITES) == kind].groupby("sae_type"):
            right.scatter(
                rows.gamma,
                np.linspace(*ends, len(rows)),
                marker="x",
                s=14,
                color=look(str(sae_type)).colour,
                alpha=0.45,
                linewidths=0.9,
            )
    for ax in (left, right):
        ax.axvline(1.0, color="0.3", linewidth=1, linestyle=":")
    left.set(xscale="log", xlabel="L0 ratio, Gated over baseline", yticks=places, yticklabels=names)
    right.set(xlabel="relative reconstruction bias")
    plain_numbers(left.xaxis, (0.05, 0.1, 0.2, 0.5, 1, 2))
    left.set_ylim(-0.6, len(ratios) - 0.4)
    return finished(figure, right, 2)


def _intervals(ax, table: pd.DataFrame, places: np.ndarray, colour: str, marker: str, label: str) -> None:
    """Draw marks with intervals: a mark alone where the interval has no limits, and nothing where there is no value."""
    known = table["mean"].notna().to_numpy()
    mean = table["mean"][known]
    limited = np.isfinite(table.low[known]) & np.isfinite(table.high[known])
    low, high = table.low[known].where(limited, mean), table.high[known].where(limited, mean)
    low = low.clip(lower=mean / 10)  # a log axis has no zero
    ax.errorbar(
        mean, places[known], xerr=[mean - low, high - mean], fmt=marker, markersize=4.5, color=colour, capsize=2.5, linewidth=1.2,
        label=label, zorder=3,
    )  # fmt: skip
