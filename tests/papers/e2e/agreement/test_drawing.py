"""The figure on agreement shows what the model can do, and then what SAEs keep of it."""

import pandas as pd
import pytest

from saebook.papers.e2e.agreement import drawing
from saebook.papers.e2e.agreement.faithfulness import RANDOM, TOP


def test_both_ways_to_keep_features_are_drawn():
    rows = [
        ("local", 0, "simple", by, k, v) for by, k, v in ((TOP, 0, 0.9), (TOP, 1, 0.2), (TOP, 8, 0.8), (RANDOM, 8, 0.1))
    ]
    table = pd.DataFrame(rows, columns=["method", "seed", "task", "by", "kept", "faithfulness"])
    left, right = drawing.agreement(pd.Series({"simple": 0.9, "across a phrase": 0.6}), 0.8, table).axes
    assert [bar.get_width() for bar in left.patches] == [0.9, 0.6]
    assert left.patches[0].get_facecolor() != left.patches[1].get_facecolor()
    assert right.lines[0].get_ydata() == pytest.approx([0.2, 0.8]) and right.lines[1].get_ydata() == pytest.approx(
        [0.1]
    )
    assert right.lines[2].get_ydata() == [0.9, 0.9]
