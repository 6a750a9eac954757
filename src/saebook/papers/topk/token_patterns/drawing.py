"""Figures of the chapters on token patterns."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.topk.token_patterns.explained import F1, PRECISION, RECALL
from saebook.papers.topk.token_patterns.simulated import INCREASE, OWN, SIMULATED
from saebook.plotting.style import L0_AXIS, logarithmic, look, methods, style


def recall_and_precision(of_saes: pd.DataFrame) -> Figure:
    """Recall and precision against L0 by architecture at the widest dictionary (left), F1 of TopK against width by k (right)."""
    style()
    figure, panels = plt.subplots(1, 3, figsize=(12.5, 4.4), layout="constrained")
    widest = of_saes[of_saes.d_sae == of_saes.d_sae.max()]
    for panel, column in zip(panels, (RECALL, PRECISION), strict=False):
        for method in methods(widest):
            mine, shown = widest[widest.method == method], look(method)
            panel.scatter(mine.l0, mine[column], s=12, color=shown.colour, marker=shown.marker, alpha=0.4, linewidths=0)
            curve(panel, mine, "l0", column, shown.colour, shown.label, "sparsity", shown.marker)
        panel.set(xlabel=L0_AXIS, ylabel=f"mean {column} of explanations", ylim=(0, None))
        logarithmic(panel.xaxis)
    topk = of_saes[of_saes.method == "topk"]
    for_k = sorted(topk.sparsity.unique())
    for colour, k in zip(sns.color_palette("magma", len(for_k) + 1)[:-1], for_k, strict=True):
        curve(panels[2], topk[topk.sparsity == k], "d_sae", F1, colour, f"TopK, k = {k:g}")
    widths = sorted(topk.d_sae.unique())
    panels[2].set(xlabel="latents", ylabel="mean F1 of explanations", ylim=(0, None))
    logarithmic(panels[2].xaxis)
    panels[2].set_xticks(widths, [str(width) for width in widths])
    return legend_of(figure, (panels[0], panels[2]), 6)


def simulated(losses: pd.DataFrame, levels: dict[str, float]) -> Figure:
    """Added cross-entropy against L0 at the widest dictionary (left) and of TopK against width (right).

    Full lines: latents simulated from their explanations. Dashed: the SAEs themselves. `levels` are horizontal lines.
    """
    style()
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.8), sharey=True, layout="constrained")
    for by, line in ((SIMULATED, "-"), (OWN, "--")):
        mine = losses[losses.by == by]
        widest = mine[mine.d_sae == mine.d_sae.max()]
        for method in methods(widest):
            one, shown = widest[widest.method == method], look(method)
            words = f"{shown.label}, {by}"
            curve(panels[0], one, "l0", INCREASE, shown.colour, words, "sparsity", shown.marker, line)
        topk = mine[mine.method == "topk"]
        for_k = sorted(topk.sparsity.unique())
        for colour, k in zip(sns.color_palette("magma", len(for_k) + 1)[:-1], for_k, strict=True):
            words = f"k = {k:g}, {by}"
            curve(panels[1], topk[topk.sparsity == k], "d_sae", INCREASE, colour, words, line=line)
    for style_of, (name, level) in zip(("-.", ":", (0, (1, 4))), levels.items(), strict=False):
        for panel in panels:
            panel.axhline(level, color="0.3", linewidth=1.2, linestyle=style_of, label=name)
    widths = sorted(losses.d_sae.unique())
    panels[0].set(xlabel=L0_AXIS, ylabel="cross-entropy that is added (nats)")
    panels[1].set(xlabel="latents")
    for panel in panels:
        logarithmic(panel.xaxis)
    logarithmic(panels[0].yaxis)
    panels[1].set_xticks(widths, [str(width) for width in widths])
    return legend_of(figure, tuple(panels), 3)


def curve(
    ax: Axes, table: pd.DataFrame, x: str, y: str, colour, words: str, by: str = "", marker: str = "^", line: str = "-"
) -> None:
    """Means over seeds of `y` for each group of `by` (default `x`), with 95 % intervals."""
    groups = [(group[x].mean(), t_interval(group[y].dropna().to_list())) for _, group in table.groupby(by or x)]
    points = sorted((point for point in groups if point[1].n), key=lambda point: point[0])
    bars = [one.high - one.mean if one.n > 1 else 0.0 for _, one in points]
    ax.errorbar(
        [place for place, _ in points], [one.mean for _, one in points], yerr=bars, color=colour, marker=marker,
        markersize=5, capsize=2, linestyle=line, label=words,
    )  # fmt: skip


def legend_of(figure: Figure, panels: tuple[Axes, ...], columns: int) -> Figure:
    """Close the figure and give it one legend, that of several panels, below all of them."""
    handles = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)
    plt.close(figure)
    return figure
