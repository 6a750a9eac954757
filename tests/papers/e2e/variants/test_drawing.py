"""Figures of the chapters that vary Figure 1 draw every run."""

import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from papers.made_up_runs import table

from saebook.papers.e2e.comparison import CE
from saebook.papers.e2e.variants import drawing
from saebook.papers.e2e.variants.finetune import CONTINUED, FINETUNED


def runs(seeds):
    return table(seeds).query("method in ('local', 'e2e')")


def dots(ax):
    return sum(len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection))


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_panel_has_the_runs_of_its_value_and_the_legend_names_all_objectives(seeds):
    both = pd.concat([runs(seeds).query("method == 'local'").assign(layer=1), runs(seeds).assign(layer=2)])
    figure = drawing.panels(both, "layer", {1: "one", 2: "two"})
    assert [dots(ax) for ax in figure.axes] == [2 * seeds, 4 * seeds]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["local", "e2e"]


def test_seeds_have_a_line_each_and_pairs_a_mark_each():
    pairs = pd.DataFrame(0.5, index=[0, 1, 2], columns=[0, 1, 2])
    figure = drawing.seeds(runs(3), pairs)
    assert len(figure.axes[0].lines) == 6 and dots(figure.axes[1]) == 9


def test_sizes_without_a_value_are_left_out():
    at = runs(2).assign(tokens=lambda t: 1000 * t.sparsity)
    at.loc[at.index[0], CE] = float("nan")
    figure = drawing.by_size(at, "tokens", "training tokens")
    assert [dots(ax) for ax in figure.axes] == [len(at) - 1] * 2
    assert figure.axes[0].get_xlabel() == "training tokens"


def test_learning_rates_have_a_panel_each_for_elements_l0_and_drift():
    swept = runs(2).assign(lr=lambda t: 1e-4 * t.sparsity)
    figure = drawing.learning_rates(swept, swept.assign(drift=1.1))
    assert [dots(ax) for ax in figure.axes] == [len(swept)] * 3


@pytest.mark.parametrize("seeds", [1, 3])
def test_fine_tuned_runs_are_drawn_beside_both_objectives(seeds):
    local = runs(seeds).query("method == 'local'")
    every = pd.concat([runs(seeds), local.assign(method=FINETUNED), local.assign(method=CONTINUED)])
    figure = drawing.finetuning(every)
    assert dots(figure.axes[0]) == len(every) and len(figure.legends[0].get_texts()) == 4
