"""Curves that several figures draw alike: a sweep's means over seeds, with intervals."""

import pandas as pd

from saebook.evaluation.intervals import t_interval
from saebook.plotting.style import logarithmic, look

# quantity drawn over L0 -> (name on an axis, column of the published tables, factor that brings it to our unit)
QUANTITIES = {
    "loss_recovered": ("loss recovered", "pct_CE_recovered", 0.01),
    "relative_reconstruction_bias": ("relative reconstruction bias", "gamma", 1.0),
    "alive": ("share of latents alive", "pct_alive", 0.01),
}


def sweep_curve(ax, table: pd.DataFrame, method: str, quantity: str = "loss_recovered") -> None:
    """Draw one method's sweep: a mark per SAE, a line through the means over seeds, and 95 % t intervals on both axes.

    `table` has columns method, sparsity, seed, l0 and `quantity`. With one seed there are no bars. The lower end of an
    interval of L0 stops at a tenth of its mean: the end may lie below zero, which a log axis cannot show.
    """
    mine = table[table.method == method]
    shown = look(method)
    ax.scatter(
        mine.l0, mine[quantity], s=14, color=shown.colour, marker=shown.marker, alpha=0.5, linewidths=0, zorder=3
    )
    intervals = [
        (t_interval(group.l0.to_list()), t_interval(group[quantity].to_list())) for _, group in mine.groupby("sparsity")
    ]
    intervals.sort(key=lambda pair: pair[0].mean)
    means = [(across.mean, up.mean) for across, up in intervals]
    ax.plot(
        *zip(*means, strict=True), color=shown.colour, marker=shown.marker, markersize=5, label=shown.label, zorder=2
    )
    for across, up in intervals:
        if across.n > 1:
            low = max(across.low, across.mean / 10)
            ax.errorbar(
                across.mean, up.mean, xerr=[[across.mean - low], [across.high - across.mean]],
                yerr=[[up.mean - up.low], [up.high - up.mean]], color=shown.colour, capsize=3, linewidth=1.2,
            )  # fmt: skip


def log_curve(ax, table: pd.DataFrame, by: str, x: str, y: str, method: str) -> None:
    """Draw a line through the means over seeds of each group of `by`, with 95 % t intervals of `y`, on two log axes.

    A mean that is not above zero has no place there, and no bar.
    """
    shown = look(method)
    ax.scatter(table[x], table[y], s=12, color=shown.colour, marker=shown.marker, alpha=0.4, linewidths=0, zorder=3)
    points = [(g[x].mean(), t_interval(g[y].to_list())) for _, g in table.groupby(by)]
    points.sort(key=lambda point: point[0])
    if points:
        means = [interval.mean for _, interval in points]
        ax.plot(
            [p for p, _ in points],
            means,
            color=shown.colour,
            marker=shown.marker,
            markersize=5,
            label=shown.label,
            zorder=2,
        )
    for place, interval in points:
        if interval.n > 1 and interval.mean > 0:
            low = max(interval.low, interval.mean / 10)  # a log axis has no zero
            error = [[interval.mean - low], [interval.high - interval.mean]]
            ax.errorbar(place, interval.mean, yerr=error, color=shown.colour, capsize=2, linewidth=1)
    logarithmic(ax.xaxis)
    logarithmic(ax.yaxis)
