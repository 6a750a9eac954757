"""Figures of the chapters beyond the papers."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from saebook.papers.beyond.dashboards import CHANCE, OTHER_KIND, OTHER_SEED
from saebook.plotting.style import finished, logarithmic, look, style

_LINES = {
    OTHER_SEED: ("-", "another seed"),
    OTHER_KIND: ("--", "the other architecture"),
    CHANCE: (":", "random directions"),
}


def populations(every: pd.DataFrame) -> Figure:
    """Cumulative shares of latents: left by density, right by the cosine of the nearest neighbour in three other dictionaries.

    `every` has one line a latent: method, density, and a cosine for each of the dictionaries.
    """
    style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for method, mine in every.groupby("method", sort=False):
        shown = look(str(method))
        left.plot(*_cumulative(mine.density), color=shown.colour, label=shown.label)
        for name, (line, words) in _LINES.items():
            right.plot(*_cumulative(mine[name]), line, color=shown.colour, label=f"{shown.label}: {words}")
    logarithmic(left.xaxis)
    left.set(xlabel="density (share of tokens)", ylabel="share of latents", ylim=(0, 1.02))
    right.set(xlabel="cosine with the nearest latent", xlim=(0, 1.02), ylim=(0, 1.02))
    return finished(figure, right, columns=2)


def _cumulative(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The values in order, and the share of them up to each."""
    return np.sort(values.to_numpy()), np.arange(1, len(values) + 1) / len(values)
