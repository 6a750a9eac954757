"""Gated, the baseline and variants of either in one figure (Gated paper, Figures 8 and 9 and the dead-latent pages)."""

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from saebook.evaluation.intervals import Interval
from saebook.plotting.curves import QUANTITIES, sweep_curve
from saebook.plotting.style import L0_AXIS, finished, logarithmic, look, methods, style


def curves_and_quantity(table: pd.DataFrame, quantity: str, mark: float | None = None) -> Figure:
    """Loss recovered (left) and another `quantity` (right) against L0, every method of `table`; a dotted line at `mark`."""
    style()
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    for ax, column in zip(axes, ("loss_recovered", quantity), strict=True):
        for method in methods(table):
            sweep_curve(ax, table, method, column)
        ax.set(xlabel=L0_AXIS, ylabel=QUANTITIES[column][0])
        logarithmic(ax.xaxis)
    if mark is not None:
        axes[1].axhline(mark, color="0.3", linewidth=1, linestyle=":")
    return finished(figure, axes[0], 3 if table.method.nunique() == 3 else 2)


def curves_and_ratios(table: pd.DataFrame, ratios: dict[str, Interval], name: str) -> Figure:
    """Loss recovered against L0 (left), and one line per method of `ratios` (right): its interval, and a dot per seed.

    `name` says what the ratios are; a dotted line marks one.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    for method in methods(table):
        sweep_curve(left, table, method)
    left.set(xlabel=L0_AXIS, ylabel="loss recovered")
    logarithmic(left.xaxis)
    for place, (method, ratio) in enumerate(ratios.items()):
        shown = look(method)
        right.scatter(
            ratio.values,
            [place - 0.15] * len(ratio.values),
            s=14,
            color=shown.colour,
            marker=shown.marker,
            alpha=0.5,
            linewidths=0,
        )
        if ratio.n > 1 and math.isfinite(ratio.high):
            ends = [[ratio.mean - ratio.low], [ratio.high - ratio.mean]]
            right.errorbar(ratio.mean, place, xerr=ends, fmt=shown.marker, color=shown.colour, capsize=3)
    right.axvline(1.0, color="0.3", linewidth=1, linestyle=":")
    right.set(xlabel=name, ylim=(len(ratios) - 0.5, -0.5), yticks=range(len(ratios)))
    right.set_yticklabels([look(method).label.replace(", ", ",\n") for method in ratios])
    right.grid(visible=False, axis="y")
    return finished(figure, left, 3)
