"""The figure of the chapter on subject-verb agreement."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from saebook.papers.e2e.agreement.faithfulness import RANDOM, TOP
from saebook.plotting.style import finished, logarithmic, look, methods, style


def agreement(accuracy: pd.Series, least: float, table: pd.DataFrame) -> Figure:
    """Accuracy of the subject by template (left), and faithfulness with so many features kept (right; dotted: drawn at random).

    `table` is that of `faithfulness.measured`, empty where the subject can do no template: then the right panel says so.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained", width_ratios=(1, 1.5))
    colours = ["0.35" if value >= least else "0.75" for value in accuracy]
    left.barh(range(len(accuracy)), accuracy, color=colours)
    left.axvline(least, color="0.3", linestyle=":", linewidth=1.2, label="needed to judge")
    left.axvline(0.5, color="0.3", linewidth=1, label="guessing")
    left.set(yticks=range(len(accuracy)), xlim=(0, 1), xlabel="accuracy of the model itself")
    left.set_yticklabels(list(accuracy.index))
    left.invert_yaxis()
    if table.empty:
        right.text(0.5, 0.5, "the model cannot do the task", ha="center", va="center", transform=right.transAxes)
        right.set(xticks=[], yticks=[])
        return finished(figure, left, 2)
    for method in methods(table):
        shown = look(method)
        for by, line in ((TOP, "-"), (RANDOM, ":")):
            mine = table[(table.method == method) & (table.by == by) & (table.kept > 0)]
            means = mine.groupby("kept").faithfulness.mean()
            label = shown.label if by == TOP else None
            right.plot(means.index, means, color=shown.colour, linestyle=line, marker=shown.marker, label=label)
        whole = table[(table.method == method) & (table.kept == 0)].faithfulness.mean()
        right.axhline(whole, color=shown.colour, linewidth=0.8, alpha=0.6)
        left.plot([], [], color=shown.colour, marker=shown.marker, label=shown.label)
    right.axhline(1.0, color="0.3", linewidth=1)
    logarithmic(right.xaxis)
    right.set(xlabel="features kept", ylabel="faithfulness")
    return finished(figure, left, 5)
