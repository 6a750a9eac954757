"""Figures of the e2e chapters draw every run."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from papers.made_up_runs import table

from saebook.papers.e2e import drawing


@pytest.mark.parametrize("seeds", [1, 3])
def test_added_loss_draws_every_run(seeds):
    runs, figure = table(seeds), drawing.added_loss(table(seeds))
    drawn = sum(len(c.get_offsets()) for c in figure.axes[0].collections if isinstance(c, PathCollection))
    assert drawn == len(runs) and figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    assert len(figure.legends[0].get_texts()) == 4


@pytest.mark.parametrize("seeds", [1, 3])
def test_later_errors_are_drawn_by_position(seeds):
    errors = pd.DataFrame(
        [
            (m, s, f"blocks.{b}.hook_resid_pre", b + 1.0, b + 0.5)
            for m in ("local", "e2e")
            for s in range(seeds)
            for b in (1, 2)
        ],
        columns=["method", "seed", "position", "mse", "mse_after_0"],
    )
    left, right = drawing.later_errors(errors).axes
    assert [text.get_text() for text in left.get_xticklabels()] == ["1", "2"]
    assert [line.get_ydata().tolist() for line in left.lines] == [[2.0, 3.0]] * 2
    assert right.lines[0].get_ydata().tolist() == [1.5, 2.5]


def test_cosine_densities_have_a_line_per_method_and_its_control():
    rng = np.random.default_rng(0)
    cosines = pd.DataFrame(
        {"method": ["local"] * 40 + ["e2e"] * 40, **{c: rng.random(80) for c in ("within", "seeds", "local")}}
    )
    axes = drawing.cosine_densities(cosines, cosines).axes
    assert [len(ax.lines) for ax in axes] == [4, 4, 4]
