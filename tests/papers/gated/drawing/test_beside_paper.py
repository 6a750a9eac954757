"""Our results beside the published ones."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from saebook.evaluation.intervals import t_interval
from saebook.papers.gated.drawing import beside_paper
from saebook.plotting.style import look

SPARSITIES = (0.5, 2.0)


def sweep(seeds: int) -> pd.DataFrame:
    """Two kinds, two sparsities; the kind with more features recovers more, the seeds lie a little apart."""
    rows = [
        {
            "method": method, "sparsity": sparsity, "seed": seed, "l0": (40 + 20 * seed) / sparsity,
            "loss_recovered": lift - 0.05 * sparsity - 0.02 * seed,
        }
        for method, lift in (("gated", 0.95), ("relu", 0.90))
        for sparsity in SPARSITIES
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def paper() -> pd.DataFrame:
    """One model and layer of the site asked for, a beaten point, an impossible L0, and a row of another site."""
    rows = [
        ("m", "gated", "Resid", 3, 10.0, 97.0), ("m", "gated", "Resid", 3, 50.0, 99.0), ("m", "gated", "Resid", 3, 80.0, 98.0),
        ("m", "gated", "Resid", 3, -4.0, 99.9), ("m", "baseline", "Resid", 3, 20.0, 96.0), ("m", "baseline", "Resid", 3, 90.0, 98.5),
        ("m", "gated", "MLP", 3, 30.0, 95.0),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "sae_type", "site", "layer", "L0", "pct_CE_recovered"])


def points(line) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def lines(axes, colour: str) -> list[list[tuple[float, float]]]:
    """Connected lines of one colour; an error bar counts as a line of one point, and its caps have no line."""
    coloured = [line for line in axes.lines if line.get_color() == colour and line.get_linestyle() == "-"]
    return [points(line) for line in coloured if len(line.get_xdata()) > 1]


def test_left_panel_has_a_mark_per_sae_and_a_line_through_the_means(paper):
    table = sweep(seeds=3)
    left, _ = beside_paper.pareto_curves(table, paper).axes
    dots = np.concatenate([np.asarray(c.get_offsets()) for c in left.collections if len(c.get_offsets()) == 6])
    assert np.allclose(sorted(dots.tolist()), sorted(table[["l0", "loss_recovered"]].to_numpy().tolist()))
    assert left.get_xscale() == "log"
    for method in ("gated", "relu"):
        means = table[table.method == method].groupby("sparsity")[["l0", "loss_recovered"]].mean().sort_values("l0")
        (line,) = lines(left, look(method).colour)
        assert np.allclose(line, means.to_numpy())


def test_left_panel_shows_t_intervals_on_both_axes(paper):
    table = sweep(seeds=3)
    left, _ = beside_paper.pareto_curves(table, paper).axes
    bars = [
        segment
        for bar in left.containers
        for collection in bar.lines[2]
        for segment in np.asarray(collection.get_segments())
    ]
    for _, group in table.groupby(["method", "sparsity"]):
        across, up = t_interval(group.l0.to_list()), t_interval(group.loss_recovered.to_list())
        assert any(np.allclose(b, [[across.mean, up.low], [across.mean, up.high]]) for b in bars)
        # A log axis has no place for an end below zero; the other end is always the interval's.
        assert any(np.allclose(b[1], [across.high, up.mean]) and 0 < b[0][0] < across.mean for b in bars)


def test_one_seed_makes_a_figure_without_intervals(paper):
    left, _ = beside_paper.pareto_curves(sweep(seeds=1), paper).axes
    assert not left.containers
    assert len(lines(left, look("gated").colour)) == 1


def test_right_panel_shows_the_fronts_of_the_site(paper):
    _, right = beside_paper.pareto_curves(sweep(seeds=1), paper, site="Resid").axes
    assert lines(right, look("gated").colour) == [[(10.0, 0.97), (50.0, 0.99)]]
    assert lines(right, look("baseline").colour) == [[(20.0, 0.96), (90.0, 0.985)]]


def test_legend_names_both_architectures(paper):
    figure = beside_paper.pareto_curves(sweep(seeds=2), paper)
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    assert legends
    for legend in legends:
        assert {t.get_text() for t in legend.get_texts()} == {"baseline (ReLU + L1)", "Gated"}


def test_figure_is_closed_and_deterministic(paper):
    before, pictures = plt.get_fignums(), []
    for _ in range(2):
        figure, file = beside_paper.pareto_curves(sweep(seeds=3), paper), io.BytesIO()
        figure.savefig(file, format="png", dpi=40, metadata={"Software": None})
        pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]
    assert plt.get_fignums() == before
