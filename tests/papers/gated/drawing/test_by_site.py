"""Figures over sites and layers."""

import math

import pandas as pd
from papers.gated.site_sweeps import FACTORS, grid

from saebook.claims import results
from saebook.papers.gated import every_site
from saebook.papers.gated.drawing import by_site


def test_figures_draw_every_site():
    table = grid(FACTORS)
    drawn = by_site.curves(table)
    assert len(drawn.axes) == 4 and all(ax.get_xscale() == "log" for ax in drawn.axes)
    paper = results.published("gated_tables_1_to_8")
    biases = {m: every_site.biases(table, m) for m in ("gated", "relu")}
    lost = every_site.l0_ratios(table)
    lost.loc[0, ["mean", "low", "high"]] = math.nan, 0.0, math.inf  # a site without a ratio is left out, not in the way
    published = pd.DataFrame({"site": ["Resid"], "ratio": [0.5]})
    left = by_site.summary(lost, biases, published, paper).axes[0]
    assert len(left.get_yticklabels()) == 4
