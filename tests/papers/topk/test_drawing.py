"""Figures of the Top-k chapters draw every run."""

import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from papers.made_up_runs import table

from saebook.papers.topk import drawing


@pytest.mark.parametrize("seeds", [1, 3])
def test_curves_draw_every_run(seeds):
    runs = table(seeds)
    for figure in (drawing.activation_functions(runs, runs, 64, 8.0), drawing.downstream(runs, 64)):
        drawn = sum(len(c.get_offsets()) for c in figure.axes[0].collections if isinstance(c, PathCollection))
        assert drawn == len(runs) and figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
        assert len(figure.legends[0].get_texts()) == 4


@pytest.mark.parametrize("seeds", [1, 3])
def test_dead_latents_has_a_line_per_seed_and_their_mean(seeds):
    shares = pd.DataFrame(
        [("both", s, t, t / 10) for s in range(seeds) for t in range(3)], columns=["method", "seed", "step", "dead"]
    )
    (ax,) = drawing.dead_latents(shares, 16, 20).axes
    assert ax.lines[seeds].get_xdata().tolist() == [0, 16, 32] and ax.lines[-1].get_xdata()[0] == 20
