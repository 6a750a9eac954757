"""Figures of the chapters on optimisation."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.topk.effects.drawing import over_seeds
from saebook.papers.topk.optimisation import auxiliary
from saebook.papers.topk.optimisation.averaging import CONSTANT, DECAYING, NONE, PAPER, SHARE
from saebook.plotting.style import finished, logarithmic, style

_AVERAGES = {NONE: ("#0072B2", "o"), SHARE: ("#009E73", "^"), PAPER: ("#E69F00", "D")}


def weight_averages(table: pd.DataFrame) -> Figure:
    """Figure 13: normalised MSE against the rate, with and without averages: at a constant rate (left), at a decaying one (right).

    `table` as `averaging.labelled` gives it.
    """
    style()
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True, layout="constrained")
    for panel, schedule in zip(panels, (CONSTANT, DECAYING), strict=True):
        for average, (colour, marker) in _AVERAGES.items():
            mine = table[(table.schedule == schedule) & (table.average == average)]
            if len(mine):
                panel.scatter(mine.lr, mine.normalised_mse, s=10, color=colour, marker=marker, alpha=0.4, linewidths=0)
                over_seeds(panel, mine, "lr", "normalised_mse", colour, marker, average)
        panel.set(xlabel="learning rate", title=schedule)
        logarithmic(panel.xaxis)
        logarithmic(panel.yaxis)
    panels[0].set_ylabel("normalised MSE")
    return finished(figure, panels[0], 3)


def auxiliary_losses(runs: pd.DataFrame) -> Figure:
    """Share dead (left) and normalised MSE (right) by the form of AuxK, a row each; lines mark the paper's and none.

    `runs` as `auxiliary.by_seed` gives it.
    """
    style()
    names = [auxiliary.WITHOUT, auxiliary.PAPER, *auxiliary.FORMS][::-1]
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.2), sharey=True, layout="constrained")
    titles = {"dead": "share of latents dead at the end", "normalised_mse": "normalised MSE"}
    for panel, (column, title) in zip(panels, titles.items(), strict=True):
        for name, colour, line in ((auxiliary.WITHOUT, "#0072B2", ":"), (auxiliary.PAPER, "#009E73", "--")):
            panel.axvline(
                runs[runs.method == name][column].mean(), color=colour, linestyle=line, linewidth=1.3, label=name
            )
        for row, name in enumerate(names):
            _row(panel, row, runs[runs.method == name][column].to_list())
        panel.set(xlabel=title, yticks=range(len(names)), yticklabels=names)
    return finished(figure, panels[0], 2)


def _row(ax: Axes, row: int, values: list[float]) -> None:
    """A dot for each value, and their mean with a 95 % t interval."""
    ax.scatter(values, [row] * len(values), s=14, color="0.4", alpha=0.6, linewidths=0)
    over = t_interval(values)
    reach = [[over.mean - over.low], [over.high - over.mean]] if over.n > 1 else None
    ax.errorbar([over.mean], [row], xerr=reach, color="0.15", marker="|", markersize=12, capsize=3)
