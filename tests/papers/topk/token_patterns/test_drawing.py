"""The figures draw what they are given."""

import numpy as np
import pytest
from papers.topk.token_patterns.test_explained import planted
from papers.topk.token_patterns.test_simulated import planted as losses

from saebook.papers.topk.token_patterns import drawing


def line_of(panel, label):
    """The line of the one set of error bars with this label."""
    (bars,) = [one for one in panel.containers if one.get_label() == label]
    return bars.lines[0]


@pytest.mark.parametrize("seeds", [1, 3])
def test_recall_and_precision_draw_each_architecture_and_k(seeds):
    table = planted().assign(precision=0.7)
    figure = drawing.recall_and_precision(table[table.seed < seeds])
    recall, precision, f1 = figure.axes
    lines = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"TopK, k = 8", "TopK, k = 32"} < lines and len(lines) == 4
    assert np.asarray(line_of(recall, "TopK").get_ydata()) == pytest.approx([0.15, 0.075])
    assert len(f1.containers) == 2 and len(precision.containers) == 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_simulated_losses_are_drawn_beside_the_saes_own(seeds):
    table = losses()
    figure = drawing.simulated(table[table.seed < seeds], {"bigrams": 1.5})
    by_l0, by_width = figure.axes
    words = [str(container.get_label()) for container in by_l0.containers]
    assert len(words) == 4 and sum("simulated" in one for one in words) == 2
    expected = table[(table.method == "topk") & (table.d_sae == 512) & (table.by == "simulated") & (table.seed < seeds)]
    means = expected.groupby("sparsity").ce_increase.mean()
    assert np.asarray(line_of(by_l0, "TopK, simulated").get_ydata()) == pytest.approx(means.to_numpy())
    assert len(by_width.containers) == 4 and by_l0.get_yscale() == "log"
