"""Figures on principal directions draw every group, direction and element."""

import numpy as np
import pandas as pd
import pytest

from saebook.papers.e2e.directions import drawing


def test_histogram_has_every_group_that_has_positions():
    labels = np.repeat([0, 2], 20).reshape(2, 20)
    kept = pd.DataFrame({"method": ["local", "local", "activations"], "separation": [2.0, 3.0, 5.0]})
    left, right = drawing.component_histogram(labels.astype(float), labels, kept).axes
    assert len(left.containers) == 2 and right.lines[0].get_ydata() == [5.0, 5.0]
    assert [text.get_text() for text in right.get_xticklabels()] == ["local"]


def test_directions_have_means_over_seeds_and_intervals_over_rows():
    rows = [("e2e", s, k, 0.1 * k + 0.2 * s) for s in (0, 1) for k in range(3)]
    kept = pd.DataFrame(rows, columns=["method", "seed", "direction", "correlation"])
    kl = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    left, right = drawing.by_direction(kept, kl).axes
    assert left.lines[0].get_ydata() == pytest.approx([0.1, 0.2, 0.3])
    assert right.lines[0].get_ydata() == pytest.approx([2.0, 2.0, 2.0]) and right.get_yscale() == "log"


def test_maps_have_a_row_by_kind_and_one_by_direction_0():
    placed = pd.DataFrame({"kind": ["local"] * 3 + ["local again"] * 2, "x": range(5), "y": range(5), "pca0": 0.1})
    axes = drawing.dictionary_map({"a": placed, "b": placed}).axes
    assert len(axes) == 5  # four maps and a colour bar
    assert [len(c.get_offsets()) for c in axes[0].collections] == [3, 2] and axes[0].get_title() == "a"
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["local", "local, another seed"]
