"""Figures of the chapters on optimisation."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from saebook.papers.topk.effects.drawing import over_seeds
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
