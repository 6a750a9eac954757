"""The figure has every architecture in both panels, each in its own colour, on two logarithmic axes."""

import pandas as pd
import pytest

from saebook.papers.topk.later import drawing

METHODS = ("relu", "gated", "topk", "batch_topk", "jump_relu")


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_architecture_has_a_line_of_its_own_in_both_panels(seeds):
    rows = [
        {
            "method": m,
            "sparsity": k,
            "seed": s,
            "l0": k,
            "normalised_mse": (1 + i) / (k + s),
            "ce_increase": 2 / (k + i + s),
        }
        for i, m in enumerate(METHODS)
        for k in (4.0, 8.0)
        for s in range(seeds)
    ]
    figure = drawing.error_and_loss(pd.DataFrame(rows))
    for panel, column in zip(figure.axes, ("normalised MSE", "added nats per token"), strict=True):
        lines = [line for line in panel.get_lines() if line.get_label() and not line.get_label().startswith("_")]
        assert len({line.get_color() for line in lines}) == len(lines) == len(METHODS)
        assert panel.get_xscale() == panel.get_yscale() == "log" and panel.get_ylabel() == column
    assert len(figure.legends[0].get_texts()) == len(METHODS)
