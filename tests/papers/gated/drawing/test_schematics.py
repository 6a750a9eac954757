"""Figures of the toys."""

import pytest

from saebook.book import budgets
from saebook.papers.gated.budgets import GradientRoutes
from saebook.papers.gated.drawing import schematics
from saebook.papers.gated.toys import gradient_routes, jump, one_feature

ROUTES = GradientRoutes(tier="smoke", seeds=(0, 1), d_in=6, d_sae=12, batch=24, fault="nothing")


@pytest.fixture(scope="module")
def trained():
    budget = budgets.resolve("gated/fig02_shrinkage_toy", "smoke", seeds=[0, 1, 2, 3], penalties=[0.0, 1.0, 1.5, 2.5])
    return one_feature.trained(budget)


@pytest.fixture(scope="module")
def toy():
    return budgets.resolve("gated/fig15_jumprelu_toy", "smoke")


def test_shrinkage_figure_marks_every_sae(trained):
    left, right = schematics.shrinkage(trained, one_feature.OPTIMA).axes
    marks = [line for line in right.lines if line.get_linestyle() == "None"]
    assert sorted(len(line.get_xdata()) for line in marks) == [16, 16]
    (minimum,) = [line for line in left.lines if line.get_marker() == "o"]
    assert minimum.get_xdata()[0] == pytest.approx(0.5, abs=2e-3)


def test_jump_figure_shows_units_and_intervals(toy):
    z, y = jump.sample(toy, 0)
    over = jump.over_separation(toy)
    units = {"ReLU, paper": jump.PAPER_RELU, "JumpReLU, paper": jump.PAPER_JUMP, "least": lambda grid: grid}
    top, middle, bottom = schematics.jumps(toy, z, y, units, over).axes
    assert [line.get_label() for line in middle.lines] == list(units)
    assert len(bottom.containers) == 2 * over.separation.nunique() and top.patches


def test_routes_figure_colours_wrong_routes():
    sound = gradient_routes.routes("gated", *gradient_routes.trial("gated", ROUTES, 0))
    collapsed = gradient_routes.routes("gated", *gradient_routes.trial("gated", ROUTES, 0, "decoder not frozen"))
    left, right = schematics.routes({"a": sound, "b": collapsed}).axes
    assert (left.images[0].get_array() == 2).sum() == 0 and (right.images[0].get_array() == 2).sum() == 2
    assert (left.images[0].get_array() == 1).sum() == (sound.found != "-").sum()
