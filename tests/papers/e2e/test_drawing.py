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


def test_ratios_by_layer_stand_beside_the_papers():
    lines = [(m, s, d, 2.0 + d) for m in ("e2e", "e2e+ds") for s in (0, 1) for d in (0, 1, 2)]
    ratios = pd.DataFrame(lines, columns=["method", "seed", "distance", "ratio"])
    paper = ratios[ratios.seed == 0].assign(ratio=9.0)
    ceiling = pd.concat([ratios, ratios.assign(method="local")]).rename(columns={"ratio": "share"})
    left, right = drawing.ratios_by_layer(ratios, paper, ceiling).axes
    drawn = [list(line.get_ydata()) for line in left.lines]
    assert drawn[:2] == [pytest.approx([2.0, 3.0, 4.0]), [9.0, 9.0, 9.0]] and drawn[2] == pytest.approx([2.0, 3.0, 4.0])
    assert len(right.lines) == 4 and right.get_yscale() == left.get_yscale() == "log"


def test_training_times_show_every_round_and_the_control():
    rows = [
        (p, m, r) for p in ("here", "the authors' path") for m in ("e2e", "e2e+ds", "local again") for r in (2.0, 3.0)
    ]
    times = pd.DataFrame(rows, columns=["path", "method", "ratio"])
    paper = pd.DataFrame({"layer": [2, 6], "method": ["e2e", "e2e"], "ratio": [3.3, 2.4]})
    left, right = drawing.training_times(times, paper).axes
    drawn = sum(len(c.get_offsets()) for c in left.collections if isinstance(c, PathCollection))
    assert drawn == len(times) and [t.get_text() for t in left.get_xticklabels()] == ["here", "the authors' path"]
    assert list(right.lines[0].get_ydata()) == [3.3, 2.4]
