"""Figures of the chapters that vary Figure 1."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.e2e.comparison import ALIVE, CE
from saebook.papers.e2e.variants.finetune import CONTINUED, FINETUNED
from saebook.plotting.curves import log_curve
from saebook.plotting.style import L0_AXIS, Look, finished, logarithmic, look, methods, plain_numbers, style

ADDED, ALIVE_AXIS = "added nats per token", "alive latents"


def panels(table: pd.DataFrame, by: str, titles: dict) -> Figure:
    """Added cross-entropy against L0, one panel for each value of `by` that `titles` names, one curve for each objective."""
    style()
    figure, axes = plt.subplots(
        1, len(titles), figsize=(3.2 * len(titles) + 0.6, 4), layout="constrained", sharey=True, squeeze=False
    )
    for ax, (value, title) in zip(axes[0], titles.items(), strict=True):
        for method in methods(table):
            mine = table[(table[by] == value) & (table.method == method)]
            log_curve(ax, mine, "sparsity", "l0", CE, method)
        ax.set(xlabel=L0_AXIS, title=title)
    axes[0, 0].set_ylabel(ADDED)
    most = max(axes[0], key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    return finished(figure, most, 3)


def seeds(table: pd.DataFrame, pairs: pd.DataFrame) -> Figure:
    """Added cross-entropy against L0, one line for each seed (left); the ratio of each pair of seeds (right)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for method in methods(table):
        shown = look(method)
        for i, (_, g) in enumerate(table[table.method == method].sort_values("l0").groupby("seed")):
            left.plot(
                g.l0, g[CE], color=shown.colour, marker=shown.marker, markersize=4, linewidth=1, alpha=0.8,
                label=None if i else shown.label,
            )  # fmt: skip
    logarithmic(left.xaxis)
    logarithmic(left.yaxis)
    left.set(xlabel=L0_AXIS, ylabel=ADDED)
    for place, (_, row) in enumerate(pairs.iterrows()):
        same = np.array([other == pairs.index[place] for other in pairs.columns])
        values = row.to_numpy(float)
        right.scatter(
            np.full((~same).sum(), place), values[~same], color="0.3", s=28, label=None if place else "other seed"
        )
        right.scatter(
            np.full(same.sum(), place), values[same], facecolors="none", edgecolors="0.3", s=48,
            label=None if place else "same seed",
        )  # fmt: skip
    right.axhline(1.0, color="0.6", linewidth=1)
    right.set(xticks=range(len(pairs)), xlabel="seed of the e2e SAEs", ylabel="added loss, e2e over local, at equal L0")
    right.set(xlim=(-0.5, len(pairs) - 0.5))
    right.set_xticklabels([str(seed) for seed in pairs.index])
    right.legend(fontsize=8)
    return finished(figure, left, 3)


def by_size(at: pd.DataFrame, by: str, label: str) -> Figure:
    """Added cross-entropy (left) and alive elements (right) at one L0 against the size `by`; means with intervals over seeds."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for ax, column, name in ((left, CE, ADDED), (right, ALIVE, ALIVE_AXIS)):
        for method in methods(at):
            log_curve(ax, at[at.method == method].dropna(), by, by, column, method)
        plain_numbers(ax.xaxis, tuple(sorted(at[by].unique())))
        ax.set(xlabel=label, ylabel=name)
    return finished(figure, left, 3)


def learning_rates(table: pd.DataFrame, drifts: pd.DataFrame) -> Figure:
    """Alive elements, added cross-entropy, and L0 at the end over L0 at a third of training, against the learning rate."""
    style()
    figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
    for ax, data, column, name in (
        (axes[0], table, ALIVE, ALIVE_AXIS),
        (axes[1], table, "l0", L0_AXIS),
        (axes[2], drifts, "drift", "L0 at the end over L0 at a third"),
    ):
        for method in methods(data):
            log_curve(ax, data[data.method == method], "lr", "lr", column, method)
        ax.set(xlabel="learning rate", ylabel=name)
    axes[2].axhline(1.0, color="0.6", linewidth=1, zorder=0)
    return finished(figure, axes[0], 3)


def finetuning(table: pd.DataFrame) -> Figure:
    """Added cross-entropy against L0 of local SAEs, the same trained on in two ways, and e2e SAEs."""
    style()
    figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for method in ("local", CONTINUED, FINETUNED, "e2e"):
        _curve(ax, table[table.method == method], look(method))
    logarithmic(ax.xaxis)
    logarithmic(ax.yaxis)
    ax.set(xlabel=L0_AXIS, ylabel=ADDED)
    return finished(figure, ax)


def _curve(ax: Axes, table: pd.DataFrame, shown: Look) -> None:
    """A dot per SAE, a line through the means over seeds, and intervals."""
    ax.scatter(table.l0, table[CE], s=12, color=shown.colour, marker=shown.marker, alpha=0.4, linewidths=0, zorder=3)
    points = [(g.l0.mean(), t_interval(g[CE].to_list())) for _, g in table.groupby("sparsity")]
    points.sort(key=lambda point: point[0])
    ax.plot(
        [x for x, _ in points], [y.mean for _, y in points], color=shown.colour, marker=shown.marker, markersize=5,
        label=shown.label,
    )  # fmt: skip
    for x, y in points:
        if y.n > 1 and y.mean > 0:  # a log axis has no place for the others
            ends = [[y.mean - max(y.low, y.mean / 10)], [y.high - y.mean]]
            ax.errorbar(x, y.mean, yerr=ends, color=shown.colour, capsize=2, linewidth=1)
