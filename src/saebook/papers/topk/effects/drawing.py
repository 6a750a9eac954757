"""Figures of the chapters on what latents do."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saebook.evaluation.intervals import t_interval
from saebook.papers.topk.effects.logit_changes import CHANNEL, ELSEWHERE, GAUSSIAN, LATENT, RANDOM
from saebook.plotting.style import finished, logarithmic, style

_REMOVED = {LATENT: ("#009E73", "^"), ELSEWHERE: ("#E69F00", "D"), RANDOM: ("#56B4E9", "s"), CHANNEL: ("#0072B2", "o")}


def logit_changes(effects: pd.DataFrame) -> Figure:
    """Density of effects against k, by what is removed: over the whole span (left), and at the ablated token alone (right)."""
    style()
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.4), sharey=True, layout="constrained")
    titles = {"density": "this token and those after it", "own_density": "this token alone"}
    for panel, (column, title) in zip(panels, titles.items(), strict=True):
        for removed, (colour, marker) in _REMOVED.items():
            mine = effects[effects.removed == removed]
            over_seeds(panel, mine, "sparsity", column, colour=colour, marker=marker, label=removed)
        panel.axhline(GAUSSIAN, color="0.3", linewidth=1, linestyle=":", label="normally distributed changes")
        panel.set(xlabel="k (active latents per token)", title=title)
        logarithmic(panel.xaxis)
        logarithmic(panel.yaxis)
    panels[0].set_ylabel("share of logits that change")
    return finished(figure, panels[0], 3)


def over_seeds(
    ax: Axes, table: pd.DataFrame, x: str, y: str, colour, marker: str = "o", label: str | None = None
) -> None:
    """Draw the means of `y` over the seeds of each `x`, with 95 % t intervals where there are several seeds."""
    points = [(place, t_interval(group[y].dropna().to_list())) for place, group in table.groupby(x)]
    points = [(place, across) for place, across in points if across.n]
    means = [across.mean for _, across in points]
    # All that is drawn is positive, and a logarithmic axis has no zero.
    low = [one.mean - max(one.low, one.mean / 10) if one.n > 1 else 0.0 for _, one in points]
    high = [one.high - one.mean if one.n > 1 else 0.0 for _, one in points]
    places = [place for place, _ in points]
    ax.errorbar(places, means, yerr=[low, high], color=colour, marker=marker, markersize=5, capsize=2, label=label)
