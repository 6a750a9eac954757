"""Figures of the chapters that measure Figure 1's SAEs again draw every run, with one seed and with several."""

import numpy as np
import pandas as pd
import pytest
from papers.made_up_runs import table

from saebook.papers.e2e.measured import drawing

RNG = np.random.default_rng(0)


def runs(seeds: int, *columns: str) -> pd.DataFrame:
    made = table(seeds)
    made = made[made.method.isin(["local", "e2e"])]
    return made.assign(**{column: made.l0 / 20 for column in columns})


@pytest.mark.parametrize("seeds", [1, 3])
def test_norm_ratios_have_a_panel_for_position_0_and_one_for_the_rest(seeds):
    figure = drawing.norm_ratios(runs(seeds, "norm_ratio", "norm_ratio_at_0"))
    for ax in figure.axes:
        assert len(ax.containers) == 2 and ax.get_xscale() == "log"
        shown = sorted(ax.containers[0].lines[0].get_ydata())
        assert shown == pytest.approx([(4 + (seeds - 1) / 2) / 20, (8 + (seeds - 1) / 2) / 20])
    assert len(figure.legends[0].get_texts()) == 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_cosines_have_a_curve_and_a_density_for_each_method(seeds):
    tokens = pd.DataFrame({"method": ["local"] * 50 + ["e2e"] * 50, "cosine": RNG.uniform(0.2, 1, 100)})
    left, right = drawing.cosines(runs(seeds, "cosine"), tokens).axes
    assert len(left.containers) == 2 and len(right.lines) == 2
