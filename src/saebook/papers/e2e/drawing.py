"""Figures of the e2e chapters."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

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
