"""Points sorted into panels and series."""

import math

import pandas as pd

from saebook.book.site.figures import declared, plotted, quantities
from saebook.plotting.style import Look


def test_panels_stand_in_the_order_of_sites_and_layers(sweep):
    cells = [("resid_post", 2), ("resid_post", 10), ("mlp_out", 2), ("mlp_out", 10)]
    table = pd.concat(sweep.assign(site=site, layer=layer) for site, layer in cells[::-1])
    panels = plotted.panels(declared.usual(table), table)
    assert [(panel.facet["site"], panel.facet["layer"]) for panel in panels] == [*cells[2:], *cells[:2]]
    assert panels[0].title == "MLP output, layer 2" and len({panel.y for panel in panels}) == 1


def test_many_panels_have_an_axis_up_of_their_own(sweep):
    table = pd.concat(sweep.assign(site="mlp_out", layer=i, loss_recovered=sweep.loss_recovered - i) for i in range(5))
    panels = plotted.panels(declared.usual(table), table)
    assert len({panel.y for panel in panels}) == 5 and len({panel.x for panel in panels}) == 1


def test_methods_of_one_figure_have_marks_of_their_own():
    looks = {"a": Look("A", "#000000", "P"), "b": Look("B", "#000000", "P"), "c": Look("C", "#000000", "o")}
    markers = [look.marker for look in plotted.distinct(looks).values()]
    assert markers[0] == "P" and markers[2] == "o" and len(set(markers)) == 3


def test_means_are_over_seeds_at_each_strength(sweep):
    panel = plotted.panels(declared.usual(sweep), sweep)[0]
    relu = next(one for one in panel.series if one.method == "relu")
    means = relu.means("l0", "loss_recovered")
    assert [round(up.mean, 6) for _, up in means] == [0.7, 0.9, 0.98] and {across.n for across, _ in means} == {3}
    assert [round(across.mean, 6) for across, _ in means] == [4.04, 16.16, 64.64]


def test_run_of_unsaid_strength_is_drawn(sweep):
    unsaid = sweep[sweep.method == "relu"].head(1).assign(method="mine", sparsity=math.nan)
    means = plotted.Series("mine", Look("Mine", "#000000", "*"), "", True, unsaid).means("l0", "loss_recovered")
    assert len(means) == 1
    assert "λ" not in quantities.run_words(next(unsaid.itertuples()), ("loss_recovered",), "λ")
