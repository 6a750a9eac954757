"""The figures draw what they are given."""

import numpy as np
import pytest
from papers.topk.token_patterns.test_explained import planted

from saebook.papers.topk.token_patterns import drawing


@pytest.mark.parametrize("seeds", [1, 3])
def test_recall_and_precision_draw_each_architecture_and_k(seeds):
    table = planted().assign(precision=0.7)
    figure = drawing.recall_and_precision(table[table.seed < seeds])
    recall, precision, f1 = figure.axes
    lines = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"TopK, k = 8", "TopK, k = 32"} < lines and len(lines) == 4
    (topk,) = [c for c in recall.containers if c.get_label() == "TopK"]
    assert np.asarray(topk.lines[0].get_ydata()) == pytest.approx([0.15, 0.075])
    assert len(f1.containers) == 2 and len(precision.containers) == 2
