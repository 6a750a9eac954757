"""Figures of the e2e chapters."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from saebook.plotting.curves import log_curve
from saebook.plotting.style import L0_AXIS, finished, logarithmic, look, methods, style


def added_loss(table: pd.DataFrame) -> Figure:
    """Added cross-entropy of local and end-to-end SAEs against L0 (left) and against the elements that are alive (right)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", sharey=True)
    for method in methods(table):
        mine = table[table.method == method]
        log_curve(left, mine, "sparsity", "l0", "ce_increase", method)
        log_curve(right, mine, "sparsity", "alive_elements", "ce_increase", method)
    left.set(xlabel=L0_AXIS, ylabel="added nats per token")
    right.set(xlabel="alive latents")
    return finished(figure, left, 3)


def later_errors(errors: pd.DataFrame) -> Figure:
    """Squared error at the site and every later position, all tokens (left) and without position 0 (right); one dot per seed."""
    style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    places = list(errors.position.unique())
    for ax, column, title in zip(axes, ("mse", "mse_after_0"), ("all positions", "without position 0"), strict=True):
        for method in methods(errors):
            mine = errors[errors.method == method]
            ax.scatter(
                mine.position.map(places.index),
                mine[column],
                s=16,
                color=look(method).colour,
                marker=look(method).marker,
                alpha=0.6,
                linewidths=0,
            )
            means = mine.groupby("position")[column].mean()
            ax.plot(
                range(len(places)),
                means[places],
                color=look(method).colour,
                marker=look(method).marker,
                label=look(method).label,
            )
        logarithmic(ax.yaxis)
        ax.set(title=title, xticks=range(len(places)), xlabel="residual stream before block")
        ax.set_xticklabels([place.split(".")[1] for place in places])
    axes[0].set_ylabel("mean squared error per dimension")
    return finished(figure, axes[0], 3)


def cosine_densities(cosines: pd.DataFrame, control: pd.DataFrame) -> Figure:
    """Densities over alive elements of the largest cosine within an SAE, across seeds, and with local elements; dotted: at random."""
    style()
    titles = {"within": "within an SAE", "seeds": "with another seed", "local": "with a local SAE"}
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.8), layout="constrained")
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        for method in methods(cosines):
            for table, style_ in ((cosines, "-"), (control, ":")):
                values = table[table.method == method][column]
                label = look(method).label if style_ == "-" else None
                sns.kdeplot(
                    x=values,
                    ax=ax,
                    color=look(method).colour,
                    linestyle=style_,
                    label=label,
                    clip=(-1, 1),
                    warn_singular=False,
                )
        ax.set(title=title, xlabel="largest cosine", ylabel="density" if column == "within" else "")
    return finished(figure, axes[0], 3)


def ratios_by_layer(table: pd.DataFrame, paper: pd.DataFrame, ceiling: pd.DataFrame) -> Figure:
    """Errors over local by distance from the site, with the paper's (left); errors over those with the mean in place (right).

    `table` has method, seed, distance and ratio, `paper` the same without seed, `ceiling` method, seed, distance and share.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    for method in methods(paper):
        mine, theirs, shown = table[table.method == method], paper[paper.method == method], look(method)
        logs = mine.assign(log=np.log(mine.ratio.to_numpy(float))).groupby("distance").log.mean()
        means = np.exp(logs.to_numpy(float))
        left.scatter(mine.distance, mine.ratio, s=14, color=shown.colour, alpha=0.5, linewidths=0)
        left.plot(logs.index, means, color=shown.colour, marker=shown.marker, label=shown.label)
        left.plot(theirs.distance, theirs.ratio, color=shown.colour, linestyle=":", label=f"{shown.label}, the paper")
    left.axhline(1.0, color="0.3", linewidth=1)
    left.set(xlabel="layers after the SAE", ylabel="squared error over local")
    for method in methods(ceiling):
        mine, shown = ceiling[ceiling.method == method], look(method)
        means = mine.groupby("distance").share.mean()
        label = None if method in set(paper.method) else shown.label
        right.scatter(mine.distance, mine.share, s=14, color=shown.colour, alpha=0.5, linewidths=0)
        right.plot(means.index, means, color=shown.colour, marker=shown.marker, label=label)
        if label:
            left.plot([], [], color=shown.colour, marker=shown.marker, label=label)
    right.axhline(1.0, color="0.3", linewidth=1)
    right.set(xlabel="layers after the SAE", ylabel="error over the mean activation's")
    for ax in (left, right):
        logarithmic(ax.yaxis)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return finished(figure, left, 3)


def training_times(table: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Time over local by path, one dot a round (`path`, `method`, `ratio`), and the paper's by layer (`layer`, `method`, `ratio`)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained", width_ratios=(1.6, 1))
    paths = list(table.path.unique())
    for shift, method in enumerate(methods(table)):
        shown = look(method) if method != "local again" else None
        colour, marker, label = (shown.colour, shown.marker, shown.label) if shown else ("0.5", "x", "local again")
        for place, path in enumerate(paths):
            mine = table[(table.path == path) & (table.method == method)].ratio
            x = place + 0.2 * (shift - 1)
            left.scatter([x] * len(mine), mine, s=20, color=colour, marker=marker, label=None if place else label)
            left.plot([x - 0.07, x + 0.07], [mine.median()] * 2, color=colour, linewidth=2)
        theirs = paper[paper.method == method]
        right.plot(theirs.layer, theirs.ratio, color=colour, marker=marker, linestyle="")
    left.set(xticks=range(len(paths)), ylabel="training time over local")
    left.set_xticklabels(paths)
    right.set(xticks=sorted(paper.layer.unique()), xlabel="layer of GPT-2 small", title="the paper")
    for ax in (left, right):
        ax.axhline(1.0, color="0.3", linewidth=1)
        logarithmic(ax.yaxis)
    return finished(figure, left, 4)
