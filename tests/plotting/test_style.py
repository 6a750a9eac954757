"""Every method has a label, a colour and a marker, distinct within a figure; log axes hold what can be drawn on them."""

import itertools

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from saebook.common.errors import UserError
from saebook.plotting.style import logarithmic, look, methods
from saebook.sae import registry

# the methods that stand in one figure
FIGURES = [
    ("relu", "gated"),
    ("relu", "gated", "topk", "prolu_relu", "prolu_ste"),
    ("local", "e2e", "e2e+ds"),
    ("relu", "gated", "gated_unfrozen", "gated_no_r_mag", "gated_untied"),
    ("relu", "gated", "rescaled"),
    ("relu", "gated", "relu_not_resampled", "gated_not_resampled"),
    ("relu", "gated", "pruned_relu", "pruned_gated"),
    ("local", "finetuned", "continued"),
]


@pytest.mark.parametrize("figure", FIGURES)
def test_methods_of_a_figure_differ_by_label_colour_and_marker(figure):
    for one, other in itertools.combinations(map(look, figure), 2):
        assert one.label != other.label and one.colour != other.colour and one.marker != other.marker


def test_architectures_take_label_and_colour_from_the_registry():
    for name in registry.names():
        assert (look(name).label, look(name).colour) == (registry.label(name), registry.colour(name))
    assert look("baseline").label == look("relu").label and look("baseline").colour == look("relu").colour


def test_unknown_method_is_refused():
    with pytest.raises(UserError, match="nonsense"):
        look("nonsense")


def test_methods_have_a_fixed_order():
    table = pd.DataFrame({"method": ["zz", "topk", "gated", "aa", "relu", "gated"]})
    assert methods(table) == ["relu", "gated", "topk", "aa", "zz"]


def test_axis_with_nothing_above_zero_stays_linear_and_can_be_saved(tmp_path):
    figure, (below, both) = plt.subplots(1, 2)
    below.plot([1, 2], [-1, -2])
    both.plot([1, 2], [-1, 2])
    for ax in (below, both):
        logarithmic(ax.yaxis)
    figure.savefig(tmp_path / "figure.png")
    plt.close(figure)
    assert (below.get_yscale(), both.get_yscale()) == ("linear", "log")
