"""Curves beside another quantity, and beside ratios."""

import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from saebook.evaluation.intervals import t_interval
from saebook.papers.gated.drawing import variants


@pytest.mark.parametrize("seeds", [1, 3])
def test_curves_beside_another_quantity_and_beside_ratios(seeds):
    rows = [
        {
            "method": m,
            "sparsity": v,
            "seed": s,
            "l0": 10 / v + s + i,
            "loss_recovered": 0.9 - v / 9,
            "alive": 1 - v / 10,
        }
        for i, m in enumerate(("relu", "gated", "gated_untied"))
        for v in (1.0, 2.0)
        for s in range(seeds)
    ]
    table = pd.DataFrame(rows)
    figure = variants.curves_and_quantity(table, "alive", 1.0)
    for ax in figure.axes:
        drawn = sum(len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection))
        assert drawn == len(table) and ax.get_xscale() == "log"
    assert figure.axes[1].lines[-1].get_ydata() == [1.0, 1.0] and len(figure.legends[0].get_texts()) == 3
    ratios = {"gated_untied": t_interval([0.8, 0.9, 0.95]), "relu": t_interval([0.5])}
    _, right = variants.curves_and_ratios(table, ratios, "a ratio").axes
    assert [t.get_text() for t in right.get_yticklabels()] == ["Gated,\nuntied encoders", "baseline (ReLU + L1)"]
    assert len(right.containers) == 1 and right.get_xlabel() == "a ratio"  # one value has no interval
