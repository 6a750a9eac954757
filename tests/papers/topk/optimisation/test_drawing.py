"""Figures of the chapters on optimisation: what is drawn is what is in the table."""

import pandas as pd
import pytest

from saebook.papers.topk.optimisation import auxiliary, averaging, drawing


def test_averages_are_drawn_beside_their_schedule():
    rows = [
        {"schedule": schedule, "average": average, "lr": lr, "seed": seed, "normalised_mse": error + 0.01 * seed}
        for schedule, averages in (
            (averaging.CONSTANT, (averaging.NONE, averaging.SHARE, averaging.PAPER)),
            (averaging.DECAYING, (averaging.NONE, averaging.SHARE)),
        )
        for error, average in enumerate(averages, 1)
        for lr in (0.01, 0.02)
        for seed in (0, 1)
    ]
    left, right = drawing.weight_averages(pd.DataFrame(rows)).axes
    assert [left.get_title(), right.get_title()] == [averaging.CONSTANT, averaging.DECAYING]
    assert left.get_legend_handles_labels()[1] == [averaging.NONE, averaging.SHARE, averaging.PAPER]
    assert right.get_legend_handles_labels()[1] == [averaging.NONE, averaging.SHARE]
    (line, *_), *_ = left.containers
    assert list(line.get_xdata()) == [0.01, 0.02] and list(line.get_ydata()) == pytest.approx([1.005, 1.005])


def test_every_form_of_auxk_has_a_row_and_lines_mark_the_paper_and_none():
    names = [auxiliary.WITHOUT, auxiliary.PAPER, *auxiliary.FORMS]
    runs = pd.DataFrame(
        {"method": name, "seed": seed, "dead": 0.1 * row + 0.01 * seed, "normalised_mse": 0.3}
        for row, name in enumerate(names)
        for seed in (0, 1)
    )
    left, _ = drawing.auxiliary_losses(runs).axes
    assert [label.get_text() for label in left.get_yticklabels()] == names[::-1]
    assert left.get_legend_handles_labels()[1] == [auxiliary.WITHOUT, auxiliary.PAPER]
    assert [line.get_xdata()[0] for line in left.lines[:2]] == pytest.approx([0.005, 0.105])
