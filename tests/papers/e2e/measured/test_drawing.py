"""Figures of the chapters that measure Figure 1's SAEs again draw every run, with one seed and with several."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from papers.made_up_runs import table

from saebook.papers.e2e.measured import drawing

RNG = np.random.default_rng(0)


def runs(seeds: int, *columns: str) -> pd.DataFrame:
    made = table(seeds)
    made = made[made.method.isin(["local", "e2e"])]
    return made.assign(**{column: made.l0 / 20 for column in columns})


@pytest.mark.parametrize("seeds", [1, 3])
def test_norm_ratios_have_a_panel_for_position_0_and_one_for_the_rest(seeds):
    figure = drawing.norm_ratios(runs(seeds, "norm_ratio", "norm_ratio_at_0"))
    for ax in figure.axes:
        assert len(ax.containers) == 2 and ax.get_xscale() == "log"
        shown = sorted(ax.containers[0].lines[0].get_ydata())
        assert shown == pytest.approx([(4 + (seeds - 1) / 2) / 20, (8 + (seeds - 1) / 2) / 20])
    assert len(figure.legends[0].get_texts()) == 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_cosines_have_a_curve_and_a_density_for_each_method(seeds):
    tokens = pd.DataFrame({"method": ["local"] * 50 + ["e2e"] * 50, "cosine": RNG.uniform(0.2, 1, 100)})
    left, right = drawing.cosines(runs(seeds, "cosine"), tokens).axes
    assert len(left.containers) == 2 and len(right.lines) == 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_explained_variance_has_a_line_for_each_method_and_may_be_negative(seeds):
    at = pd.DataFrame(
        [
            (m, s, f"blocks.{b}.hook_resid_pre", (-1.0) ** b, b / 9)
            for m in ("local", "e2e")
            for s in range(seeds)
            for b in (1, 2)
        ],
        columns=["method", "seed", "position", "raw", "normed"],
    )
    raw, normed = drawing.explained(at).axes
    assert [line.get_ydata().tolist() for line in raw.lines[:2]] == [[-1.0, 1.0]] * 2
    assert normed.lines[0].get_ydata().tolist() == pytest.approx([1 / 9, 2 / 9])
    assert [text.get_text() for text in raw.get_xticklabels()] == ["1", "2"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_similarity_is_drawn_against_three_quantities_beside_random_directions(seeds):
    made = runs(seeds, "similarity", "similarity_at_random")
    for ax, column in zip(drawing.similarities(made).axes, ("l0", "ce_increase", "alive_elements"), strict=True):
        assert len(ax.containers) == 2 and len(ax.collections) >= 4
        hollow = [c for c in ax.collections if isinstance(c, PathCollection) and not len(c.get_facecolor())]
        assert sum(len(c.get_offsets()) for c in hollow) == len(made)
        assert sorted(x for c in hollow for x in c.get_offsets()[:, 0]) == pytest.approx(sorted(made[column]))


def test_modes_have_a_line_for_each_seed_and_a_dotted_one_at_random():
    cosines = pd.DataFrame(
        {
            "method": np.repeat(["local", "e2e"], 60), "seed": np.tile([0, 1], 60), "local": RNG.random(120),
            "seeds": RNG.random(120),
        }
    )  # fmt: skip
    figure = drawing.modes(cosines, cosines)
    assert [len(ax.lines) for ax in figure.axes] == [8, 8] and len(figure.legends[0].get_texts()) == 2
    assert sum(line.get_linestyle() == ":" for line in figure.axes[0].lines) == 4


@pytest.mark.parametrize("seeds", [1, 3])
def test_gradients_are_drawn_on_logarithmic_axes(seeds):
    left, right = drawing.gradients(runs(seeds, "gradient_norm")).axes
    for ax, column in ((left, "alive_elements"), (right, "gradient_norm")):
        assert ax.get_xscale() == ax.get_yscale() == "log"
        drawn = [y for line in ax.lines if line.get_label() in ("local", "e2e") for y in line.get_ydata()]
        assert sorted(drawn) == pytest.approx(
            sorted(runs(seeds, "gradient_norm").groupby(["method", "sparsity"])[column].mean())
        )


def test_curve_is_drawn_where_two_sparsities_have_the_same_place():
    made = runs(2, "similarity", "similarity_at_random").assign(alive_elements=64)
    assert [len(ax.containers) for ax in drawing.similarities(made).axes] == [2, 2, 2]
