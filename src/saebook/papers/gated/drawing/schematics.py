"""Figures of the toys (`papers.gated.toys`): shrinkage, JumpReLU against ReLU, and which loss trains what."""

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.gated.budgets import JumpReLUToy
from saebook.plotting.style import look, style

_GREY = "0.35"


def shrinkage(table: pd.DataFrame, optima: Mapping[str, Callable[[float], float]], penalty: float = 1.0) -> Figure:
    """Left: the parts of the toy's loss over the code, at one penalty. Right: trained activations over lambda, on the optima.

    `table` comes from `one_feature.trained`; marks are SAEs, lines are the `optima` of each architecture.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    f = np.linspace(0, 1.2, 400)
    total = (1 - f) ** 2 + penalty * f
    left.plot(f, (1 - f) ** 2, color=_GREY, linestyle="--", label="squared error")
    left.plot(f, penalty * f, color=_GREY, linestyle=":", label="penalty")
    left.plot(f, total, color=look("relu").colour, label="their sum")
    left.plot(f[total.argmin()], total.min(), "o", color=look("relu").colour)
    left.set(xlabel="code f of a feature of size one", ylabel="loss", title=f"lambda = {penalty:g}")
    left.legend(frameon=False, fontsize=9)
    lambdas = np.linspace(0, max(table.sparsity.max(), penalty) * 1.04, 600)
    for architecture in ("relu", "gated"):
        mine = table[table.method == architecture]
        right.plot(
            lambdas, [optima[architecture](one) for one in lambdas], color=look(architecture).colour, linewidth=1.2
        )
        right.plot(
            mine.sparsity, mine.activation, look(architecture).marker, color=look(architecture).colour, mfc="none", ms=7, linestyle="",
            label=f"{look(architecture).label}, trained",
        )  # fmt: skip
    right.set(xlabel="lambda", ylabel="activation on the feature", title="lines: the optimum; marks: trained SAEs")
    right.title.set_fontsize(11)
    right.legend(frameon=False, fontsize=9, loc="lower left")
    plt.close(figure)
    return figure


def jumps(
    budget: JumpReLUToy, z: np.ndarray, y: np.ndarray, units: Mapping[str, Callable], over: pd.DataFrame
) -> Figure:
    """Projections with the feature on and off, what each unit reads from them, and the ratio of errors over their distance.

    `z`, `y` [n] are a sample; `units` are the units by name ("ReLU, ..." and "JumpReLU, ..." take the colours of the baseline
    and of Gated); `over` comes from `jump.over_separation`.
    """
    style()
    figure, axes = plt.subplot_mosaic("ab;cc", figsize=(9, 7), layout="constrained")
    bins = np.linspace(-4, 5, 55).tolist()
    axes["a"].hist(
        [z[y == 0], z[y != 0]], bins=bins, stacked=True, color=["0.7", "#009E73"], label=["off", "on"], linewidth=0
    )
    axes["a"].set(xlabel="projection on the direction", ylabel="tokens", title="(a) on and off overlap")
    grid = np.linspace(-1.0, 3.5, 700)
    colours = {"ReLU": look("relu").colour, "JumpReLU": look("gated").colour}
    for name, unit in units.items():
        form, _, how = name.partition(", ")
        line = ":" if form not in colours else "--" if how == "best" else "-"
        axes["b"].plot(grid, unit(grid), color=colours.get(form, "0.2"), linestyle=line, linewidth=1.7, label=name)
    axes["b"].set(xlabel="projection on the direction", ylabel="reconstruction", title="(b) what is read")
    for column, colour, label in (
        ("ratio", look("gated").colour, "both at their best"),
        ("ratio_same_threshold", "#009E73", "both at the paper's threshold"),
    ):
        places = sorted(over.separation.unique())
        points = [(place, t_interval(over[column][over.separation == place])) for place in places]
        axes["c"].plot([p for p, _ in points], [i.mean for _, i in points], color=colour, marker=".", label=label)
        for place, one in points:
            if one.n > 1:
                ends = [[one.mean - one.low], [one.high - one.mean]]
                axes["c"].errorbar(place, one.mean, yerr=ends, color=colour, capsize=3)
    axes["c"].axhline(1.0, color="0.3", linewidth=1, linestyle=":")
    axes["c"].axvline(budget.on_mean, color="0.3", linewidth=1, linestyle="--", label="panels (a) and (b)")
    axes["c"].set(
        xlabel=f"mean of the projection when on (off: mean zero, spread {budget.off_sd:g})", ylabel="error, JumpReLU over ReLU",
        title="(c) the ratio of errors, the further apart on and off are", ylim=(0, None),
    )  # fmt: skip
    for ax in axes.values():
        ax.title.set_fontsize(11)
        ax.legend(frameon=False, fontsize=9)
    plt.close(figure)
    return figure


def routes(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """One panel per title: parameters (down) by loss terms (across) of a `gradient_routes.routes` table, each cell with its route.

    White: nothing arrives; blue: what the paper says arrives; orange: something else does, or is missing.
    """
    style()
    height = max(table.parameter.nunique() for table in tables.values())
    figure, axes = plt.subplots(
        1, len(tables), figsize=(4.7 * len(tables), 0.55 * height + 1.6), layout="constrained", squeeze=False
    )
    for ax, (title, table) in zip(axes[0], tables.items(), strict=True):
        terms, parameters = list(table.term.unique()), list(table.parameter.unique())
        values = np.zeros((len(parameters), len(terms)))
        for row in table.itertuples():
            place = parameters.index(row.parameter), terms.index(row.term)
            arrived = str(row.found)
            values[place] = 2 if not row.right else float(arrived != "-")
            ax.text(*place[::-1], arrived.replace(" + ", "\n+ "), ha="center", va="center", fontsize=8.5)
        ax.imshow(values, cmap=ListedColormap(["white", "#BBD8EE", "#F5B27A"]), vmin=0, vmax=2, aspect="auto")
        ax.set(xticks=range(len(terms)), yticks=range(len(parameters)), title=title)
        ax.set_xticklabels(terms, fontsize=10)
        ax.set_yticklabels(parameters, fontsize=10)
        ax.title.set_fontsize(11)
        ax.grid(False)
        ax.set_xticks(np.arange(len(terms) + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(len(parameters) + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="0.8")
    plt.close(figure)
    return figure
