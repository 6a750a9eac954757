"""Figures of the chapters that measure the SAEs of Figure 1 again."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.e2e.comparison import ALIVE, CE
from saebook.papers.e2e.measured.crowding import AT_RANDOM, SIMILARITY
from saebook.papers.e2e.measured.gradient_norms import GRADIENT
from saebook.papers.e2e.measured.lengths import AT_0, COSINE, NORM_RATIO
from saebook.papers.e2e.measured.pattern_scores import F1
from saebook.papers.e2e.measured.variances import NORMED, RAW
from saebook.plotting.curves import log_curve
from saebook.plotting.style import L0_AXIS, finished, logarithmic, look, methods, style

_ADDED = "added nats per token"


def curve(ax: Axes, runs: pd.DataFrame, x: str, y: str, method: str) -> None:
    """Draw a dot per run, and through the sparsities of one method their means with 95 % t intervals of `y`; `x` logarithmic."""
    mine, shown = runs[runs.method == method], look(method)
    ax.scatter(mine[x], mine[y], s=12, color=shown.colour, marker=shown.marker, alpha=0.4, linewidths=0, zorder=3)
    points = [(g[x].mean(), t_interval(g[y].to_list())) for _, g in mine.groupby("sparsity")]
    points.sort(key=lambda point: point[0])
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


def explained(at: pd.DataFrame) -> Figure:
    """Explained variance at the site and every later position, of activations as they are and layer-normed; a dot per seed."""
    style()
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
    places = list(at.position.unique())
    for ax, column, title in zip(panels, (RAW, NORMED), ("as they are", "layer-normed"), strict=True):
        for method in methods(at):
            mine, shown = at[at.method == method], look(method)
            ax.scatter(
                mine.position.map(places.index), mine[column], s=16, color=shown.colour, marker=shown.marker, alpha=0.5,
                linewidths=0,
            )  # fmt: skip
            means = mine.groupby("position")[column].mean()
            ax.plot(range(len(places)), means[places], color=shown.colour, marker=shown.marker, label=shown.label)
        ax.axhline(0.0, color="0.3", linewidth=1, linestyle=":")
        ax.set(title=title, xticks=range(len(places)), xlabel="residual stream before block")
        ax.set_xticklabels([place.split(".")[1] for place in places])
    panels[0].set_ylabel("explained variance")
    return finished(figure, panels[0], 3)


def similarities(runs: pd.DataFrame) -> Figure:
    """Mean largest cosine within an SAE against L0, added cross-entropy and alive elements; hollow: as many random directions."""
    style()
    figure, panels = plt.subplots(1, 3, figsize=(10.5, 4), sharey=True, layout="constrained")
    for ax, (column, name) in zip(panels, {"l0": L0_AXIS, CE: _ADDED, ALIVE: "alive latents"}.items(), strict=True):
        for method in methods(runs):
            curve(ax, runs, column, SIMILARITY, method)
            mine = runs[runs.method == method]
            ax.scatter(
                mine[column], mine[AT_RANDOM], s=14, facecolors="none", edgecolors=look(method).colour,
                marker=look(method).marker, linewidths=0.8,
            )  # fmt: skip
        ax.set_xlabel(name)
    panels[0].set_ylabel("mean largest cosine within an SAE")
    return finished(figure, panels[0], 3)


def pattern_scores(runs: pd.DataFrame) -> Figure:
    """Mean F1 of token patterns against L0 (top) and added cross-entropy (bottom), one column for each layer."""
    style()
    layers = sorted(runs.layer.unique())
    figure, panels = plt.subplots(
        2, len(layers), figsize=(3.2 * len(layers) + 0.6, 6.6), sharey=True, layout="constrained", squeeze=False
    )
    for row, (column, name) in zip(panels, {"l0": L0_AXIS, CE: _ADDED}.items(), strict=True):
        for ax, layer in zip(row, layers, strict=True):
            mine = runs[runs.layer == layer]
            for method in methods(mine):
                curve(ax, mine, column, F1, method)
            ax.set(xlabel=name, title=f"before block {layer}" if column == "l0" else "")
        row[0].set_ylabel("mean F1 of token patterns")
    most = max(panels[0], key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    return finished(figure, most, 3)


def modes(cosines: pd.DataFrame, at_random: pd.DataFrame) -> Figure:
    """Densities over elements of the largest cosine with local elements and with the next seed, a line per seed; dotted: random."""
    style()
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for ax, (column, title) in zip(
        panels, {"local": "with a local SAE", "seeds": "with another seed"}.items(), strict=True
    ):
        for method in methods(cosines):
            for table, line in ((cosines, "-"), (at_random, ":")):
                mine = table[table.method == method]
                for number, (_, group) in enumerate(mine.groupby("seed")):
                    label = look(method).label if line == "-" and not number else None
                    sns.kdeplot(
                        x=group[column], ax=ax, color=look(method).colour, linestyle=line, linewidth=1.2, label=label,
                        bw_adjust=0.6, clip=(-1, 1), warn_singular=False,
                    )  # fmt: skip
        ax.set(title=title, xlabel="largest cosine", ylabel="density over elements" if column == "local" else "")
    return finished(figure, panels[0], 3)


def gradients(runs: pd.DataFrame) -> Figure:
    """Alive elements against the gradient norm (left), and the gradient norm against L0 (right), on logarithmic axes."""
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for method in methods(runs):
        mine = runs[runs.method == method]
        log_curve(left, mine, "sparsity", GRADIENT, ALIVE, method)
        log_curve(right, mine, "sparsity", "l0", GRADIENT, method)
    left.set(xlabel="gradient norm", ylabel="alive latents")
    right.set(xlabel=L0_AXIS, ylabel="gradient norm")
    return finished(figure, left, 3)
