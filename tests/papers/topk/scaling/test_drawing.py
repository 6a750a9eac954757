"""Figures of the chapters on scaling draw every run and every law."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from saebook.evaluation.scaling_law import JointLaw, PowerLaw
from saebook.papers.topk.scaling import best_rate, drawing

LAW, JOINT = PowerLaw(0.2, 40.0, -0.5), JointLaw(-0.5, 0.26, -0.017, -0.042, -1.32, -0.085)
WIDTHS, TOKENS = (64, 128, 256), np.geomspace(1e4, 1e6, 20)


def curves(by, sizes, seeds):
    parts = [
        pd.DataFrame({by: size, "seed": seed, "tokens": TOKENS, "compute": TOKENS * size, "smooth": LAW(TOKENS)})
        for size in sizes
        for seed in range(seeds)
    ]
    return pd.concat(parts, ignore_index=True)


def dots(ax):
    return sum(len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection))


@pytest.mark.parametrize("seeds", [1, 3])
def test_scaling_laws_draw_every_run_and_a_law_for_each_k(seeds):
    rows = [{"n": n, "k": k, "error": float(JOINT(n, k))} for n in WIDTHS for k in (4, 8) for _ in range(seeds)]
    grid, front = pd.DataFrame(rows), pd.DataFrame({"compute": TOKENS, "error": LAW(TOKENS)})
    figure = drawing.scaling_laws(curves("d_sae", WIDTHS, seeds), front, LAW, grid, JOINT, grid.head(4), JOINT)
    left, middle, right = figure.axes
    assert dots(left) == len(TOKENS) and dots(middle) == len(grid) and dots(right) == 4
    assert len([line for line in left.lines if len(line.get_xdata()) == len(TOKENS)]) == len(WIDTHS) * seeds
    assert len([line for line in middle.lines if len(line.get_xdata()) == 60]) == 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_best_rate_at_the_end_of_the_grid_is_hollow(seeds):
    rows = [
        {"d_sae": width, "lr": lr, "seed": seed, "normalised_mse": 0.2 + 0.01 * abs(np.log(lr / bottom))}
        for width, bottom in zip(WIDTHS, (4e-3, 2e-3, 1e-5), strict=True)
        for lr in (1e-3, 2e-3, 4e-3, 8e-3)
        for seed in range(seeds)
    ]
    table = pd.DataFrame(rows)
    best = best_rate.by_width(table)
    left, right = drawing.learning_rates(table, best, -0.4).axes
    assert dots(left) == len(table) and dots(right) == len(best)
    hollow = [c for c in right.collections if isinstance(c, PathCollection) and not len(c.get_facecolors())]
    assert len(hollow) == seeds and len(right.lines) == 2
    assert len(drawing.learning_rates(table, best, math.nan).axes[1].lines) == 1


@pytest.mark.parametrize("seeds", [1, 3])
def test_subject_sizes_draw_a_curve_for_each_size_and_each_width_with_its_control(seeds):
    rows = [
        {
            "parameters": size,
            "d_sae": width,
            "sparsity": float(k),
            "seed": seed,
            "normalised_mse": size**0.1 / width / k,
        }
        for size in (2e5, 5e5, 1e6)
        for width in WIDTHS
        for k in (4, 8)
        for seed in range(seeds)
    ]
    table = pd.DataFrame(rows)
    left, right = drawing.subject_sizes(table, table.assign(normalised_mse=table.normalised_mse / 2), 4).axes
    assert dots(left) == dots(right) == len(table) // 2
    dashed = [
        line for ax in (left, right) for line in ax.lines if line.get_linestyle() == "--" and len(line.get_xdata())
    ]
    assert len(dashed) == 3 + len(WIDTHS)
    assert left.figure.legends[0].get_texts()[0].get_text() == "0.2 M parameters"


@pytest.mark.parametrize("seeds", [1, 3])
def test_blocks_draw_every_run_and_name_each_block(seeds):
    rows = [
        {
            "layer": layer,
            "parameters": 1e6 * (layer + 1),
            "d_sae": 64,
            "seed": seed,
            "normalised_mse": 0.1 * (layer + 1),
        }
        for layer in (0, 2)
        for seed in range(seeds)
    ]
    table = pd.DataFrame(rows)
    figure = drawing.by_block(table, table.assign(normalised_mse=table.normalised_mse / 2))
    (ax,) = figure.axes
    assert dots(ax) == len(table) and [text.get_text() for text in ax.texts] == ["block 0", "block 2"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["random weights", "trained"]


@pytest.mark.parametrize("converged", [True, False])
def test_convergence_marks_runs_that_have_converged(converged):
    rows = [
        {"d_sae": width, "seed": seed, "tokens": 1e5 if converged else math.nan, "law": LAW}
        for width in WIDTHS
        for seed in (0, 1)
    ]
    left, right = drawing.convergence(curves("d_sae", WIDTHS, 2), pd.DataFrame(rows), 0.5).axes
    marks = [c for c in right.collections if np.isfinite(c.get_offsets().astype(float).filled(np.nan)).all()]
    assert len(marks) == (6 if converged else 0) and len(left.lines) == 3 * (2 * 2 + 1)
    assert len(right.lines) == (2 if converged else 0)


@pytest.mark.parametrize("seeds", [1, 3])
def test_batch_sizes_draw_every_run(seeds):
    rows = [
        {"batch": batch, "seed": seed, "normalised_mse": 0.2 + 0.01 * seed}
        for batch in (64, 256)
        for seed in range(seeds)
    ]
    left, right = drawing.batch_sizes(curves("batch", (64, 256), seeds), pd.DataFrame(rows), 64).axes
    assert len([line for line in left.lines if len(line.get_xdata())]) == 2 * seeds and dots(right) == 2 * seeds
