"""Figures of the chapters that check the tools."""

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saebook.plotting.style import finished, look, style


def truth_and_reading(table: pd.DataFrame) -> Figure:
    """Plot what was measured against what was planted: one panel per metric of `table` (columns metric, truth, read)."""
    style()
    metrics = list(table.metric.unique())
    figure, axes = plt.subplots(2, math.ceil(len(metrics) / 2), figsize=(9, 6), layout="constrained")
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    for ax, metric in zip(axes.flat, metrics, strict=False):
        mine = table[table.metric == metric]
        ends = [min(mine.truth.min(), mine.read.min()), max(mine.truth.max(), mine.read.max())]
        ax.plot(ends, ends, color="0.3", linewidth=1, linestyle=":", zorder=1)
        ax.scatter(mine.truth, mine.read, s=22, color=look("relu").colour, alpha=0.6, linewidths=0, zorder=2)
        ax.set(title=metric, xlabel="planted", ylabel="measured")
    plt.close(figure)
    return figure


def training_curves(curves: pd.DataFrame) -> Figure:
    """Error and L0 of SAEs while they train, one line a seed: `curves` has columns seed, tokens, error, l0."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for ax, column, words in ((left, "error", "squared error per token"), (right, "l0", "active latents per token")):
        for number, (seed, mine) in enumerate(curves.groupby("seed")):
            line = ("-", "--", ":", "-.")[number % 4]
            ax.plot(mine.tokens, mine[column], line, color=look("relu").colour, linewidth=1.2, label=f"seed {seed}")
        ax.set(yscale="log", xlabel="training tokens", ylabel=words)
        ax.xaxis.set_major_locator(MaxNLocator(4))
    return finished(figure, left, columns=4)
