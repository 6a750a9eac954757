"""Every chapter with a recorded sweep shows a figure, or says why not."""

import pandas as pd
import pytest

from saebook.book.site.figures import declared
from saebook.claims import results
from saebook.common import sidecar


def recorded(suffix="csv"):
    names = {name: results.file(name, "cpu").with_suffix(f".{suffix}") for name in sidecar.names()}
    return {name: file for name, file in names.items() if file.is_file()}


def test_declared_chapters_exist_and_their_points_have_the_columns():
    points = recorded()
    assert set(declared.FIGURES) | set(declared.PICTURES) <= set(sidecar.names())
    for name in declared.FIGURES:
        figure = declared.drawn(name, pd.read_csv(points[name]))
        assert figure is declared.FIGURES[name], name


def test_every_recorded_chapter_has_a_figure_or_a_picture():
    pictures = recorded("png")
    for name, file in recorded().items():
        assert declared.drawn(name, pd.read_csv(file)) or name in pictures, name


def test_pictures_are_named_only_where_a_figure_would_be_drawn():
    points = recorded()
    assert all(declared.usual(pd.read_csv(points[name])) and why for name, why in declared.PICTURES.items())


def test_usual_figure_is_that_of_a_sweep(sweep):
    assert declared.usual(sweep) == declared.Drawn((("l0", "loss_recovered"),))
    sites = pd.concat(sweep.assign(site="mlp_out", layer=layer, ce_increase=1.0) for layer in (0, 1))
    assert declared.usual(sites) == declared.Drawn((("l0", "ce_increase"),), facets=("site", "layer"))
    wide = pd.concat(sweep.assign(d_sae=width) for width in (64, 128))
    assert declared.usual(wide) == declared.Drawn((("l0", "loss_recovered"),), facets=("d_sae",))


@pytest.mark.parametrize("change", ["no loss", "two strengths", "something else varies"])
def test_what_is_no_sweep_has_no_usual_figure(sweep, change):
    other = {
        "no loss": sweep.drop(columns="loss_recovered"),
        "two strengths": sweep[sweep.sparsity < 2],
        "something else varies": pd.concat([sweep, sweep]),
    }[change]
    assert declared.usual(other) is None and declared.drawn("gated/other", other) is None


def test_figure_whose_columns_are_missing_is_not_drawn(sweep):
    assert declared.drawn("gated/fig05_pareto", sweep) is not None
    assert declared.drawn("gated/fig06_shrinkage", sweep) is None
