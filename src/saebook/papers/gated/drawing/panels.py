"""Figures of the Gated paper drawn again from its published rows (`papers.gated.published`)."""

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from saebook.evaluation.intervals import Interval
from saebook.papers.gated.drawing.by_site import LOOKS
from saebook.papers.gated.published import SITES
from saebook.plotting.style import look, style

_SITES = {name: LOOKS[site][0] for name, site in SITES.items()}  # name in the tables -> in a title
_SAE_TYPES = ("baseline", "gated")


def sweeps(rows: pd.DataFrame, lost: pd.DataFrame, model: str, fronts_only: bool) -> Figure:
    """Loss recovered against L0, one panel per layer (down) and site (across) of `model`, from `with_fronts` rows.

    A line with filled marks is the Pareto front. Runs off the front have hollow marks and are left out with `fronts_only`.
    A cross at a panel's left edge is a run of `lost`, whose L0 cannot be drawn.
    """
    figure, panels = _grid(rows, model)
    for (layer, site), ax in panels.items():
        for sae_type in _SAE_TYPES:
            mine = _panel(rows, model, layer, site, sae_type).sort_values("L0")
            front, beaten = mine[mine.front], mine[~mine.front]
            ax.plot(
                front.L0,
                front.pct_CE_recovered / 100,
                marker=look(sae_type).marker,
                markersize=3.5,
                color=look(sae_type).colour,
            )
            if not fronts_only:
                ax.plot(
                    beaten.L0,
                    beaten.pct_CE_recovered / 100,
                    look(sae_type).marker,
                    mfc="none",
                    ms=4,
                    alpha=0.6,
                    color=look(sae_type).colour,
                )
            edge = _panel(lost, model, layer, site, sae_type).pct_CE_recovered / 100
            if len(edge):
                ax.plot([0.04] * len(edge), edge, "x", color=look(sae_type).colour, transform=ax.get_yaxis_transform())
    marks = [Line2D([], [], marker="x", linestyle="", color="0.3", label="L0 printed at or below zero")]
    if not fronts_only:
        marks.append(
            Line2D([], [], marker="o", mfc="none", linestyle="", color="0.3", label="run off the Pareto front (hollow)")
        )
    return _labelled(figure, panels, "loss recovered", marks)


def biases(rows: pd.DataFrame, model: str) -> Figure:
    """Relative reconstruction bias against L0, one panel per layer (down) and site (across) of `model`; every usable run."""
    figure, panels = _grid(rows, model)
    for (layer, site), ax in panels.items():
        for sae_type in _SAE_TYPES:
            mine = _panel(rows, model, layer, site, sae_type)
            ax.plot(
                mine.L0, mine.gamma, look(sae_type).marker, markersize=3.5, linestyle="", color=look(sae_type).colour
            )
        ax.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
    return _labelled(figure, panels, "relative bias", [])


def ratios(panels: pd.DataFrame, median: Interval) -> Figure:
    """The L0 ratio of each panel of a `comparison`, with its gain at equal L0; band: the median over panels and its interval."""
    style()
    table = panels.sort_values(["model", "site", "layer"]).reset_index(drop=True)
    figure, ax = plt.subplots(figsize=(8.5, 0.27 * len(table) + 1.4), layout="constrained")
    if math.isfinite(median.low):
        ax.axvspan(median.low, median.high, color=look("gated").colour, alpha=0.15, linewidth=0)
    ax.axvline(median.mean, color=look("gated").colour, label="median over sites and layers, 95 % interval")
    ax.axvline(0.5, color="0.3", linestyle="--", linewidth=1.2, label="half as many")
    ax.axvline(1.0, color="0.3", linestyle=":", linewidth=1.2, label="as many")
    ax.plot(table.ratio, table.index, "o", color="0.15", ms=5)
    for place, (_, row) in enumerate(table.iterrows()):
        note = "no loss in common; " if math.isnan(row.ratio) else ""
        ax.text(
            1.02, place, f"{note}{row.gain:+.1f} points", transform=ax.get_yaxis_transform(), va="center", fontsize=9
        )
    ax.set(yticks=table.index, xlabel="L0, Gated over baseline, at equal loss recovered", xscale="log")
    ax.set_yticklabels([f"{row.model} {row.site} {row.layer}" for row in table.itertuples()], fontsize=9)
    low = min(0.1, float(table.ratio.min()) * 0.9) if table.ratio.notna().any() else 0.1
    ax.set(xlim=(low, 1.6), ylim=(len(table) - 0.5, -0.5))
    ax.set_xticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"])
    ax.set_title("loss recovered at equal L0", loc="right", fontsize=10, x=1.25)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    plt.close(figure)
    return figure


def _grid(rows: pd.DataFrame, model: str):
    style()
    mine = rows[rows.model == model]
    layers, sites = sorted(mine.layer.unique()), [site for site in _SITES if site in set(mine.site)]
    down, across = max(1, len(layers)), max(1, len(sites))
    figure, axes = plt.subplots(
        down, across, figsize=(3 * across + 0.3, 2 * down + 1), layout="constrained", squeeze=False, sharex=True
    )  # one range of L0 for all panels, a range of its own for each quality
    if not layers:
        figure.set_size_inches(6, 2)
        axes[0, 0].set_title(f"{model} was not asked for")
        return figure, {}
    return figure, {
        (layer, site): axes[i, j] for i, layer in enumerate(layers) for j, site in enumerate(sites)
    }  # fmt: skip


def _panel(rows: pd.DataFrame, model: str, layer: int, site: str, sae_type: str) -> pd.DataFrame:
    return rows[(rows.model == model) & (rows.layer == layer) & (rows.site == site) & (rows.sae_type == sae_type)]


def _labelled(figure: Figure, panels: dict, quantity: str, marks: list) -> Figure:
    top, left = next(iter(panels), (None, None))
    last = max((layer for layer, _ in panels), default=None)
    for (layer, site), ax in panels.items():
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(labelsize=8.5)
        if layer == top:
            ax.set_title(_SITES[site], fontsize=11)
        if layer == last:
            ax.set_xlabel("L0 (active latents per token)", fontsize=10)
        if site == left:
            ax.set_ylabel(f"layer {layer}\n{quantity}", fontsize=10)
    handles = [
        Line2D(
            [], [], marker=look(sae_type).marker, markersize=4, color=look(sae_type).colour, label=look(sae_type).label
        )
        for sae_type in _SAE_TYPES
    ]
    figure.legend(handles=handles + marks, loc="outside lower center", ncols=2, frameon=False)
    plt.close(figure)
    return figure
