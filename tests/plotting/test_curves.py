"""Curves with intervals: on log axes what is not above zero is left out, and the rest is drawn."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from saebook.plotting.curves import log_curve


@pytest.fixture
def axes():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


@pytest.mark.parametrize(
    ("values", "bars"), [([0.1, 0.2, 1.0, 1.2], 2), ([-0.1, -0.2, 1.0, 1.2], 1), ([-0.1, -0.2, -1.0, 0.0], 0)]
)
def test_means_that_a_log_axis_cannot_show_have_no_bar(axes, values, bars):
    """A trained SAE can leave the loss a little lower than it was."""
    table = pd.DataFrame({"sparsity": [1, 1, 2, 2], "l0": [10, 11, 5, 6], "ce_increase": values})
    log_curve(axes, table, "sparsity", "l0", "ce_increase", "topk")
    assert len(axes.containers) == bars and axes.get_yscale() == ("log" if bars else "linear")
    axes.figure.canvas.draw()
