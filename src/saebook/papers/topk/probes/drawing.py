"""Figures of the chapters on probes."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.topk.probes.measuring import LOSS, NONE
from saebook.plotting.style import L0_AXIS, finished, logarithmic, look, methods, style

_LEVELS = ("-.", ":")


def widths(means: pd.DataFrame, untrained: pd.DataFrame, levels: Mapping[str, float]) -> Figure:
    """Mean probe loss against k, one colour a width (left), and against width, one colour a k (right).

    Dashed: SAEs that were never trained. `levels` are horizontal lines: what else a probe could read, name -> loss.
    """
    style()
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.8), sharey=True, layout="constrained")
    for panel, x, by, palette in zip(
        panels, ("sparsity", "d_sae"), ("d_sae", "sparsity"), ("viridis", "magma"), strict=True
    ):
        known = sorted(means[by].unique())
        for colour, value in zip(sns.color_palette(palette, len(known) + 1)[:-1], known, strict=True):
            words = f"{value:g} latents" if by == "d_sae" else f"k = {value:g}"
            _curve(panel, means[means[by] == value], x, colour, words)
            start = untrained[untrained[by] == value].groupby(x)[LOSS].mean()
            panel.plot(start.index, start, "--", color=colour, linewidth=1)
        for line, (name, loss) in zip(_LEVELS, levels.items(), strict=True):
            panel.axhline(loss, color="0.3", linewidth=1.2, linestyle=line, label=name)
        panel.set_xlabel("k (active latents per token)" if x == "sparsity" else "latents")
        logarithmic(panel.xaxis)
        panel.set_xticks(sorted(means[x].unique()), [f"{value:g}" for value in sorted(means[x].unique())])
    panels[0].set_ylabel("mean probe loss (nats)")
    handles = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    handles["never trained"] = panels[0].plot([], [], "--", color="0.4", linewidth=1)[0]
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False)
    plt.close(figure)
    return figure


def kinds(means: pd.DataFrame, level: float) -> Figure:
    """Mean probe loss of each architecture against L0; dotted: `level`, the loss on the dimensions of the activations."""
    style()
    figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    for method in methods(means):
        mine, shown = means[means.method == method], look(method)
        ax.scatter(mine.l0, mine[LOSS], s=12, color=shown.colour, marker=shown.marker, alpha=0.4, linewidths=0)
        _curve(ax, mine, "l0", shown.colour, shown.label, "sparsity", shown.marker)
    ax.axhline(level, color="0.3", linewidth=1.2, linestyle=":", label="best dimension of the residual stream")
    ax.set(xlabel=L0_AXIS, ylabel="mean probe loss (nats)")
    logarithmic(ax.xaxis)
    return finished(figure, ax, 3)


def tasks(real: pd.DataFrame, shuffled: pd.DataFrame) -> Figure:
    """Loss over entropy of each task's best dimension, and the same with shuffled labels, whose bars are all shuffles."""
    style()
    order = real.assign(ratio=real[LOSS] / real[NONE]).sort_values("ratio")
    figure, ax = plt.subplots(figsize=(7.5, 1.6 + 0.2 * len(order)), layout="constrained")
    places = range(len(order))
    ax.plot(order.ratio, places, "o", color="#0072B2", markersize=5, label="best dimension")
    chance = (shuffled[LOSS] / shuffled[NONE]).groupby(shuffled.task).agg(["min", "mean", "max"]).loc[order.task]
    ax.errorbar(chance["mean"], places, xerr=[chance["mean"] - chance["min"], chance["max"] - chance["mean"]], fmt="x",
                color="0.45", markersize=4, linewidth=1, label="labels shuffled")  # fmt: skip
    ax.axvline(1.0, color="0.3", linewidth=1, linestyle=":")
    ax.set_yticks(places, order.task, fontsize=8)
    ax.set(xlabel="probe loss over the entropy of the labels", ylim=(-1, len(order)))
    ax.invert_yaxis()
    return finished(figure, ax)


def _curve(ax, table: pd.DataFrame, x: str, colour, words: str, by: str = "", marker: str = "^") -> None:
    """Means over seeds of each group of `by` (default `x`), with 95 % intervals of the loss."""
    groups = [(group[x].mean(), t_interval(group[LOSS].to_list())) for _, group in table.groupby(by or x)]
    places, losses = zip(*sorted(groups, key=lambda point: point[0]), strict=True)
    bars = [one.high - one.mean if one.n > 1 else 0.0 for one in losses]
    ax.errorbar(
        places,
        [one.mean for one in losses],
        yerr=bars,
        color=colour,
        marker=marker,
        markersize=5,
        capsize=2,
        label=words,
    )
