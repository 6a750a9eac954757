"""Figures of the chapters that measure the SAEs of Figure 1 again."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.e2e.comparison import CE
from saebook.papers.e2e.measured.lengths import AT_0, COSINE, NORM_RATIO
from saebook.plotting.style import finished, logarithmic, look, methods, style

_ADDED = "added nats per token"


def curve(ax: Axes, runs: pd.DataFrame, x: str, y: str, method: str) -> None:
    """Draw a dot per run, and through the sparsities of one method their means with 95 % t intervals of `y`; `x` logarithmic."""
    mine, shown = runs[runs.method == method], look(method)
    ax.scatter(mine[x], mine[y], s=12, color=shown.colour, marker=shown.marker, alpha=0.4, linewidths=0, zorder=3)
    points = sorted((g[x].mean(), t_interval(g[y].to_list())) for _, g in mine.groupby("sparsity"))
    half = [one.high - one.mean if one.n > 1 else 0.0 for _, one in points]
    ax.errorbar(
        [place for place, _ in points], [one.mean for _, one in points], yerr=half, color=shown.colour,
        marker=shown.marker, markersize=5, capsize=2, label=shown.label,
    )  # fmt: skip
    logarithmic(ax.xaxis)


def norm_ratios(runs: pd.DataFrame) -> Figure:
    """Norm of reconstructions over that of activations against added cross-entropy: after position 0, and at it."""
    style()
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    titles = ("positions after 0", "position 0")
    for ax, column, title in zip(panels, (NORM_RATIO, NORM_RATIO + AT_0), titles, strict=True):
        for method in methods(runs):
            curve(ax, runs, CE, column, method)
        ax.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
        ax.set(xlabel=_ADDED, title=title)
    panels[0].set_ylabel("norm of the reconstruction\nover that of the activation")
    return finished(figure, panels[0], 3)


def cosines(runs: pd.DataFrame, tokens: pd.DataFrame) -> Figure:
    """Mean cosine of activation and reconstruction against added cross-entropy, and its density over single `tokens`."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for method in methods(runs):
        curve(left, runs, CE, COSINE, method)
        values = tokens[tokens.method == method][COSINE]
        clip = (float(np.floor(tokens[COSINE].min() * 10) / 10), 1.0)
        sns.kdeplot(x=values, ax=right, color=look(method).colour, clip=clip, warn_singular=False)
    left.set(xlabel=_ADDED, ylabel="mean cosine")
    right.set(xlabel="cosine of a token", ylabel="density over tokens", title="runs of similar added loss")
    return finished(figure, left, 3)
