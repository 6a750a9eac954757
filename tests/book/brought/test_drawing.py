"""Marks in a finished figure: in the panels asked for, with a line in its one legend, and nothing else moved."""

import matplotlib.pyplot as plt
import pandas as pd

from saebook.book.brought import drawing
from saebook.plotting.style import finished, style


def drawn():
    style()
    figure, axes = plt.subplots(1, 2, layout="constrained")
    for panel in axes:
        panel.plot([1, 2], [3, 4], marker="s", label="Gated")
    return finished(figure, axes[0])


def test_point_and_line_are_added_with_one_legend():
    figure = drawn()
    table = pd.DataFrame({"method": ["one", "two", "two"], "l0": [1.0, 2.0, 3.0], "loss": [0.5, 0.6, 0.7]})
    labels = {"one": "one", "two": r"t\$wo"}
    drawing.marked(figure, table, {0: ("l0", "loss")}, labels)
    drawing.marked(figure, table, {1: (None, "loss")}, labels)
    left, right = figure.axes
    assert [line.get_xydata().tolist() for line in left.lines[1:]] == [[[1.0, 0.5]], [[2.0, 0.6], [3.0, 0.7]]]
    assert [line.get_xdata().tolist() for line in right.lines[1:]] == [[0], [0, 1]]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Gated", "one", r"t\$wo"]
    assert len({line.get_marker() for line in left.lines}) == 3
    figure.canvas.draw()  # a label of mathematics that is none would fail here


def test_many_saes_differ_by_marker_or_colour():
    figure, names = drawn(), [str(number) for number in range(20)]
    table = pd.DataFrame({"method": names, "l0": 1.0, "loss": 0.5})
    drawing.marked(figure, table, {0: ("l0", "loss")}, dict(zip(names, names, strict=True)))
    assert len({(line.get_marker(), line.get_color()) for line in figure.axes[0].lines[1:]}) == 20
