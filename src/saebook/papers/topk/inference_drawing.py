"""Figures of what happens to trained SAEs at test time: another L0, refined activations, positions."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from saebook.evaluation.intervals import t_interval
from saebook.papers.topk.progressive import JUMPRELU, NMSE, TOPK
from saebook.papers.topk.refinement import CE, ENCODER, REFINED
from saebook.plotting.curves import log_curve
from saebook.plotting.style import L0_AXIS, finished, logarithmic, look, methods, style


def progressive(codes: pd.DataFrame) -> Figure:
    """Normalised MSE against L0 at test time, one panel a method and one colour an L0 of training; means over seeds.

    Full lines: TopK with another k. Dashed lines: one threshold for all tokens. Grey: TopK SAEs, each with the k of its training.
    """
    style()
    shown = methods(codes)
    figure, panels = plt.subplots(
        1, len(shown), figsize=(3.6 * len(shown), 4.4), sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    own = codes[(codes.method == "topk") & (codes.by == TOPK) & (codes.wanted == codes.sparsity)]
    for panel, method in zip(panels[0], shown, strict=True):
        panel.plot(*_means(own, "sparsity"), color="0.6", linewidth=4, zorder=1)
        mine = codes[codes.method == method]
        trained = mine.groupby("sparsity").own_l0.mean().sort_values()
        for colour, (sparsity, l0) in zip(sns.color_palette("viridis", len(trained)), trained.items(), strict=True):
            runs = mine[mine.sparsity == sparsity]
            for by, line in ((TOPK, "-"), (JUMPRELU, "--")):
                panel.plot(*_means(runs[runs.by == by], "wanted"), line, color=colour, marker=".", markersize=5)
            panel.axvline(l0, color=colour, linewidth=0.8, linestyle=":")
        panel.set(xlabel="L0 at test time", title=f"trained as {look(method).label}")
        logarithmic(panel.xaxis)
        logarithmic(panel.yaxis)
    panels[0, 0].set_ylabel("normalised MSE")
    handles = [
        Line2D([], [], color="0.2", label="TopK at test time"),
        Line2D([], [], color="0.2", linestyle="--", label="one threshold at test time"),
        Line2D([], [], color="0.2", linestyle=":", linewidth=0.8, label="L0 of training"),
        Line2D([], [], color="0.6", linewidth=4, label="TopK trained with that k"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    plt.close(figure)
    return figure


def refinement(codes: pd.DataFrame, changes: pd.DataFrame) -> Figure:
    """Growth of activations by their size (left), and normalised MSE and added loss against L0, before and after (middle, right)."""
    style()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    for method in methods(codes):
        shown, mine = look(method), changes[changes.method == method]
        for _, of_seed in mine.groupby("seed"):
            sums = of_seed.assign(b=of_seed.before * of_seed["count"], a=of_seed.after * of_seed["count"])
            sums = sums.groupby("size")[["b", "a", "count"]].sum()
            left.plot(sums.b / sums["count"], sums.a / sums.b, color=shown.colour, marker=shown.marker, markersize=4)
        for ax, column in ((middle, NMSE), (right, CE)):
            own, refined = (codes[(codes.method == method) & (codes.by == by)] for by in (ENCODER, REFINED))
            log_curve(ax, own, "sparsity", "l0", column, method)
            ax.plot(*_means(refined, "sparsity", column), ":", color=shown.colour, marker=shown.marker, mfc="white",
                    label=f"{shown.label}, refined")  # fmt: skip
    left.axhline(1.0, color="0.3", linewidth=1, linestyle=":")
    left.set(xlabel="activation", ylabel="refined over original", title="change by size")
    logarithmic(left.xaxis)
    logarithmic(left.yaxis)
    middle.set(xlabel=L0_AXIS, ylabel="normalised MSE", title="error")
    right.set(xlabel=L0_AXIS, ylabel="added nats per token", title="language model")
    return finished(figure, middle, 4)


def positions(spans: pd.DataFrame, own: str) -> Figure:
    """Normalised MSE against position, one colour a k, with 95 % intervals over seeds; dashed: column `own` in its place."""
    style()
    figure, ax = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    ks = sorted(spans.sparsity.unique())
    for colour, k in zip(sns.color_palette("viridis", len(ks)), ks, strict=True):
        mine = spans[spans.sparsity == k]
        ax.plot(*_means(mine, "span", own, "position"), "--", color=colour, linewidth=1.0)
        x, means = _means(mine, "span", NMSE, "position")
        across = [t_interval(group[NMSE].to_list()) for _, group in mine.groupby("span")]
        low = [max(one.low, one.mean / 10) if one.n > 1 else one.mean for one in across]  # a log axis has no zero
        high = [one.high if one.n > 1 else one.mean for one in across]
        error = [np.subtract(means, low), np.subtract(high, means)]
        ax.errorbar(x, means, yerr=error, color=colour, marker="^", capsize=2, label=f"k = {k:g}")
    ax.set(xlabel="position in the context, from 1", ylabel="normalised MSE")
    logarithmic(ax.xaxis)
    logarithmic(ax.yaxis)
    return finished(figure, ax, 4)


def _means(table: pd.DataFrame, by: str, y: str = NMSE, x: str = "l0") -> tuple[pd.Series, pd.Series]:
    """Means of `x` and `y` over the seeds of each group of `by`, in the order of `x`."""
    means = table.groupby(by)[[x, y]].mean().sort_values(x)
    return means[x], means[y]
