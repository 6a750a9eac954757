"""Figures of encoders and of inference-time optimisation."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from saebook.papers.gated.drawing import encoders
from saebook.plotting.style import look

SPARSITIES = (0.5, 2.0)


def points(line) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def lines(axes, colour: str) -> list[list[tuple[float, float]]]:
    """Connected lines of one colour; an error bar counts as a line of one point, and its caps have no line."""
    coloured = [line for line in axes.lines if line.get_color() == colour and line.get_linestyle() == "-"]
    return [points(line) for line in coloured if len(line.get_xdata()) > 1]


def test_marks_lie_on_the_jumprelu_of_their_threshold():
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
    table = optimised(seeds)
    control = table[table.sparsity == 0.5].assign(loss_recovered=0.25)
    figure = encoders.dictionaries(table, control)
    assert [ax.get_title() for ax in figure.axes] == ["optimised to L0 3", "optimised to L0 10"]
    for ax, target in zip(figure.axes, (3, 10), strict=True):
        mine = table[(table.method == "gated") & (table.target == target)]
        means = mine.groupby("sparsity")[["own_l0", "loss_recovered"]].mean().sort_values("own_l0")
        (line,) = lines(ax, look("gated").colour)
        assert np.allclose(line, means.to_numpy())
        dotted = [one for one in ax.lines if one.get_linestyle() == ":"]
        assert len(dotted) == 2 and all(set(one.get_ydata()) == {0.25} for one in dotted)


@pytest.mark.parametrize("seeds", [1, 3])
def test_encoder_and_optimum_have_different_lines(seeds):
    table = optimised(seeds)
    gaps = pd.DataFrame(
        [{"method": m, "seed": s, "log_gap": g} for m, g in (("gated", 0.5), ("relu", 1.0)) for s in range(seeds)]
    )
    left, right = encoders.encoder_and_optimum(table, gaps).axes
    mine = [line for line in left.lines if line.get_color() == look("relu").colour]
    assert [line.get_linestyle() for line in mine] == ["-", "--"]
    assert np.allclose(mine[0].get_xdata(), np.sort(30 / np.array(SPARSITIES)[::-1] + (seeds - 1) / 2))
    assert np.allclose(mine[1].get_xdata(), [3, 10])
    seen = np.concatenate([c.get_offsets() for c in right.collections if isinstance(c, PathCollection)])
    assert np.allclose(seen[:, 1], np.repeat(np.exp([1.0, 0.5]), seeds))
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["baseline", "Gated"]
