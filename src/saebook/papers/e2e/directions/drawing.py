"""Figures of the chapters on principal directions and on what lies between two dictionaries."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.e2e.directions.components import GROUPS
from saebook.plotting.style import finished, logarithmic, look, methods, style

_COLOURS = ("#D55E00", "#0072B2", "#999999")  # of `GROUPS`


def component_histogram(values: np.ndarray, labels: np.ndarray, kept: pd.DataFrame) -> Figure:
    """Component 0 of the activations [N, T] by group (left), and how far apart the groups are in reconstructions (right).

    `kept` is as `components.kept` returns it, with a dotted line of the name "activations" for the original.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained", width_ratios=(1.5, 1))
    bins = np.linspace(values.min(), values.max(), 81).tolist()
    for i, name in enumerate(GROUPS):
        mine = values[labels == i]
        if len(mine):
            weights = np.full(len(mine), 1 / len(mine))
            left.hist(mine, bins=bins, weights=weights, color=_COLOURS[i], alpha=0.6, label=name)
    left.set(xlabel="component along principal direction 0", ylabel="share of the group")
    shown = methods(kept[kept.method != "activations"])
    for place, method in enumerate(shown):
        mine = kept[kept.method == method].separation.to_list()
        right.scatter([place] * len(mine), mine, s=26, color=look(method).colour, marker=look(method).marker)
    original = kept[kept.method == "activations"].separation
    for value in original:
        right.axhline(value, color="0.3", linestyle=":", linewidth=1.2)
    right.set(xticks=range(len(shown)), ylabel="least distance of groups (spreads)", ylim=(0, None))
    right.set_xticklabels([look(method).label.replace("+ ", "+\n") for method in shown])
    return finished(figure, left, 3)


def by_direction(kept: pd.DataFrame, kl: np.ndarray) -> Figure:
    """Correlation of input and output along each principal direction (left), and KL [N, K] of exchanging it (right)."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    for method in methods(kept):
        mine = kept[kept.method == method]
        means = mine.groupby("direction").correlation.mean()
        left.scatter(mine.direction, mine.correlation, s=10, color=look(method).colour, alpha=0.35, linewidths=0)
        left.plot(
            means.index, means, color=look(method).colour, marker=look(method).marker, markersize=4,
            label=look(method).label,
        )  # fmt: skip
    left.set(
        xlabel="principal direction",
        ylabel="correlation of input and output",
        ylim=(min(0.0, kept.correlation.min()), 1.02),
    )
    intervals = [t_interval(column) for column in kl.T]
    means = np.array([one.mean for one in intervals])
    low = [one.mean - max(one.low, one.mean / 10) for one in intervals]  # a log axis has no zero
    right.errorbar(
        range(len(means)), means, yerr=[low, [one.high - one.mean for one in intervals]], color="0.3", marker="o",
        markersize=4, capsize=2, linewidth=1,
    )  # fmt: skip
    right.axhline(float(np.median(means)), color="0.3", linestyle=":", linewidth=1.2)
    right.set(xlabel="principal direction", ylabel="KL of exchanging it (nats per token)")
    logarithmic(right.yaxis)
    return finished(figure, left, 3)


def dictionary_map(maps: dict[str, pd.DataFrame]) -> Figure:
    """Maps of pairs of dictionaries, coloured by kind (top) and by the cosine with principal direction 0 (bottom).

    Each table has kind, x, y and pca0; a kind is a method, or a method with " again" behind it.
    """
    style()
    figure, axes = plt.subplots(2, len(maps), figsize=(3.6 * len(maps), 6.6), layout="constrained", squeeze=False)
    limit = max(float(placed.pca0.abs().max()) for placed in maps.values())
    for (top, bottom), (title, placed) in zip(axes.T, maps.items(), strict=True):
        for kind, mine in placed.groupby("kind"):
            own = look(str(kind).removesuffix(" again"))
            again = str(kind).endswith(" again")
            label = f"{own.label}, another seed" if again else own.label
            top.scatter(
                mine.x, mine.y, s=9, color="0.45" if again else own.colour, alpha=0.6, linewidths=0, label=label
            )
        shaded = bottom.scatter(
            placed.x, placed.y, s=9, c=placed.pca0, cmap="coolwarm", vmin=-limit, vmax=limit, linewidths=0
        )
        for ax in (top, bottom):
            ax.set(xticks=[], yticks=[])
        top.set_title(title, fontsize=11)
        top.legend(fontsize=8, loc="upper right", markerscale=2)
    figure.colorbar(shaded, ax=list(axes[1]), label="cosine with principal direction 0", location="bottom", shrink=0.5)
    plt.close(figure)
    return figure
