"""The figures carry the numbers that they were given, with one seed and with several, and the same way twice."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from saebook.evaluation.intervals import t_interval
from saebook.papers.gated.drawing import encoders, sweeps
from saebook.plotting import curves

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
    found = [line for line in axes.lines if line.get_color() == colour and line.get_linestyle() == "-"]
    return [points(line) for line in found if len(line.get_xdata()) > 1]


def test_the_left_panel_has_a_dot_per_sae_and_a_line_through_the_means(paper):
    table = sweep(seeds=3)
    left, _ = sweeps.ours_beside_paper(table, paper).axes
    dots = np.concatenate([np.asarray(c.get_offsets()) for c in left.collections if len(c.get_offsets()) == 6])
    assert np.allclose(sorted(dots.tolist()), sorted(table[["l0", "loss_recovered"]].to_numpy().tolist()))
    assert left.get_xscale() == "log"
    for method in ("gated", "relu"):
        means = table[table.method == method].groupby("sparsity")[["l0", "loss_recovered"]].mean().sort_values("l0")
        (line,) = lines(left, curves.PALETTE[method])
        assert np.allclose(line, means.to_numpy())


def test_the_left_panel_shows_the_t_interval_over_seeds_both_ways(paper):
    table = sweep(seeds=3)
    left, _ = sweeps.ours_beside_paper(table, paper).axes
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
    left, _ = sweeps.ours_beside_paper(sweep(seeds=1), paper).axes
    assert not left.containers
    assert len(lines(left, curves.PALETTE["gated"])) == 1


def test_the_right_panel_shows_the_fronts_of_the_site_as_shares(paper):
    _, right = sweeps.ours_beside_paper(sweep(seeds=1), paper, site="Resid").axes
    assert lines(right, curves.PALETTE["gated"]) == [[(10.0, 0.97), (50.0, 0.99)]]
    assert lines(right, curves.PALETTE["baseline"]) == [[(20.0, 0.96), (90.0, 0.985)]]


def test_a_legend_names_the_two_kinds(paper):
    figure = sweeps.ours_beside_paper(sweep(seeds=2), paper)
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    assert legends
    for legend in legends:
        assert {t.get_text() for t in legend.get_texts()} == {"baseline (ReLU + L1)", "Gated"}


def test_the_figure_is_closed_and_drawn_the_same_way_twice(paper):
    before, pictures = plt.get_fignums(), []
    for _ in range(2):
        figure, file = sweeps.ours_beside_paper(sweep(seeds=3), paper), io.BytesIO()
        figure.savefig(file, format="png", dpi=40, metadata={"Software": None})
        pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]
    assert plt.get_fignums() == before


def test_the_colours_of_methods_differ():
    assert curves.PALETTE["relu"] == curves.PALETTE["baseline"]
    assert len({curves.PALETTE[m] for m in ("gated", "relu", "topk")}) == 3


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_topk_and_e2e_figures_draw_every_run(seeds):
    rows = [
        {
            "method": method, "d_sae": 64, "sparsity": k, "seed": seed, "l0": k + seed, "normalised_mse": 1 / (k + seed),
            "ce_increase": 2 / (k + seed), "alive_elements": 10 + k + seed,
        }
        for method in ("local", "e2e", "relu", "topk")
        for k in (4.0, 8.0)
        for seed in range(seeds)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    for figure in (
        curves.activation_functions(table, table, 64, 8.0),
        curves.downstream(table, 64),
        curves.added_loss(table),
    ):
        drawn = sum(len(c.get_offsets()) for c in figure.axes[0].collections if isinstance(c, PathCollection))
        assert drawn == len(table) and figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
        assert len(figure.legends[0].get_texts()) == 4
    errors = pd.DataFrame(
        [
            (m, s, f"blocks.{b}.hook_resid_pre", b + 1.0, b + 0.5)
            for m in ("local", "e2e")
            for s in range(seeds)
            for b in (1, 2)
        ],
        columns=["method", "seed", "position", "mse", "mse_after_0"],
    )
    left, right = curves.later_errors(errors).axes
    assert [text.get_text() for text in left.get_xticklabels()] == ["1", "2"]
    assert [line.get_ydata().tolist() for line in left.lines] == [[2.0, 3.0]] * 2
    assert right.lines[0].get_ydata().tolist() == [1.5, 2.5]
    shares = pd.DataFrame(
        [("both", s, t, t / 10) for s in range(seeds) for t in range(3)], columns=["method", "seed", "step", "dead"]
    )
    (ax,) = curves.dead_latents(shares, 16, 20).axes
    assert ax.lines[seeds].get_xdata().tolist() == [0, 16, 32] and ax.lines[-1].get_xdata()[0] == 20
    rng = np.random.default_rng(0)
    cosines = pd.DataFrame(
        {"method": ["local"] * 40 + ["e2e"] * 40, **{c: rng.random(80) for c in ("within", "seeds", "local")}}
    )
    axes = curves.cosine_densities(cosines, cosines).axes
    assert [len(ax.lines) for ax in axes] == [4, 4, 4]


def test_a_latents_dots_lie_on_the_line_of_its_threshold():
    z = np.linspace(-3.0, 4.0, 30)
    parts = [
        pd.DataFrame({"latent": latent, "theta": theta, "z": z, "activation": np.where(z > max(theta, 0), z, 0.0)})
        for latent, theta in ((3, -0.5), (7, 1.5))
    ]
    figure = encoders.jumprelu_shapes(pd.concat(parts))
    for ax, theta in zip(figure.axes, (-0.5, 1.5), strict=True):
        marked, shape = (points(line) for line in ax.lines[:2])
        assert marked[0][0] == theta and shape[1:3] == [(max(theta, 0.0), 0.0), (max(theta, 0.0), max(theta, 0.0))]
        (dots,) = (c.get_offsets() for c in ax.collections if isinstance(c, PathCollection))
        assert np.allclose(np.sort(dots[:, 0]), z) and ax.get_xlim()[1] > 4.0
    assert figure.legends[0].get_texts()[0].get_text() == "threshold"


def optimised(seeds: int) -> pd.DataFrame:
    """Encoders (target 0) and codes of two targets, for two kinds and two sparsities."""
    rows = [
        {
            "method": method, "sparsity": sparsity, "seed": seed, "own_l0": 30 / sparsity + seed, "target": target,
            "by": "optimisation" if target else "encoder", "l0": target or 30 / sparsity + seed,
            "loss_recovered": lift + 0.01 * target - 0.01 * sparsity,
        }
        for method, lift in (("gated", 0.8), ("relu", 0.7))
        for sparsity in SPARSITIES
        for seed in range(seeds)
        for target in (0, 3, 10)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seeds", [1, 3])
def test_dictionaries_have_a_panel_for_each_target(seeds):
    found = optimised(seeds)
    control = found[found.sparsity == 0.5].assign(loss_recovered=0.25)
    figure = encoders.dictionaries(found, control)
    assert [ax.get_title() for ax in figure.axes] == ["optimised to L0 3", "optimised to L0 10"]
    for ax, target in zip(figure.axes, (3, 10), strict=True):
        mine = found[(found.method == "gated") & (found.target == target)]
        means = mine.groupby("sparsity")[["own_l0", "loss_recovered"]].mean().sort_values("own_l0")
        (line,) = lines(ax, curves.PALETTE["gated"])
        assert np.allclose(line, means.to_numpy())
        dotted = [one for one in ax.lines if one.get_linestyle() == ":"]
        assert len(dotted) == 2 and all(set(one.get_ydata()) == {0.25} for one in dotted)


@pytest.mark.parametrize("seeds", [1, 3])
def test_encoder_and_optimum_are_told_apart_by_the_line(seeds):
    found = optimised(seeds)
    gaps = pd.DataFrame(
        [{"method": m, "seed": s, "log_gap": g} for m, g in (("gated", 0.5), ("relu", 1.0)) for s in range(seeds)]
    )
    left, right = encoders.encoder_and_optimum(found, gaps).axes
    mine = [line for line in left.lines if line.get_color() == curves.PALETTE["relu"]]
    assert [line.get_linestyle() for line in mine] == ["-", "--"]
    assert np.allclose(mine[0].get_xdata(), np.sort(30 / np.array(SPARSITIES)[::-1] + (seeds - 1) / 2))
    assert np.allclose(mine[1].get_xdata(), [3, 10])
    seen = np.concatenate([c.get_offsets() for c in right.collections if isinstance(c, PathCollection)])
    assert np.allclose(seen[:, 1], np.repeat(np.exp([1.0, 0.5]), seeds))
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["baseline", "Gated"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_curves_beside_another_quantity_and_beside_ratios(seeds):
    rows = [
        {
            "method": m,
            "sparsity": v,
            "seed": s,
            "l0": 10 / v + s + i,
            "loss_recovered": 0.9 - v / 9,
            "alive": 1 - v / 10,
        }
        for i, m in enumerate(("relu", "gated", "gated_untied"))
        for v in (1.0, 2.0)
        for s in range(seeds)
    ]
    table = pd.DataFrame(rows)
    figure = curves.curves_and_quantity(table, "alive", 1.0)
    for ax in figure.axes:
        drawn = sum(len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection))
        assert drawn == len(table) and ax.get_xscale() == "log"
    assert figure.axes[1].lines[-1].get_ydata() == [1.0, 1.0] and len(figure.legends[0].get_texts()) == 3
    ratios = {"gated_untied": t_interval([0.8, 0.9, 0.95]), "relu": t_interval([0.5])}
    _, right = curves.curves_and_ratios(table, ratios, "a ratio").axes
    assert [t.get_text() for t in right.get_yticklabels()] == ["Gated,\nuntied encoders", "baseline (ReLU + L1)"]
    assert len(right.containers) == 1 and right.get_xlabel() == "a ratio"  # one value has no interval
