"""Figures about test time draw every SAE."""

import pandas as pd
import pytest

from saebook.papers.topk import inference_drawing, positions, progressive, refinement


@pytest.mark.parametrize("seeds", [1, 3])
def test_progressive_has_two_lines_for_each_l0_of_training(seeds):
    rows = [
        {
            "method": method, "seed": seed, "sparsity": k, "own_l0": k, "by": by, "wanted": wanted, "l0": wanted + seed / 9,
            progressive.NMSE: 1 / wanted,
        }
        for method in ("topk", "multi_topk", "relu")
        for k in (4.0, 8.0)
        for by in (progressive.TOPK, progressive.JUMPRELU, progressive.BLIND)
        for wanted in (2, 4, 8)
        for seed in range(seeds)
    ]  # fmt: skip
    figure = inference_drawing.progressive(pd.DataFrame(rows))
    assert [ax.get_title() for ax in figure.axes][1:] == ["trained as TopK", "trained as Multi-TopK"]
    for ax in figure.axes:
        assert len(ax.lines) == 1 + 3 * 2 and ax.get_yscale() == "log"  # grey, and per L0: two codes and its mark
    assert len(figure.legends[0].get_texts()) == 4


@pytest.mark.parametrize("seeds", [1, 3])
def test_refinement_shows_own_and_refined_codes(seeds):
    runs = [(m, s, k) for m in ("relu", "topk") for s in range(seeds) for k in (4.0, 8.0)]
    codes = pd.DataFrame(
        [
            {
                "method": m,
                "seed": s,
                "sparsity": k,
                "by": by,
                "l0": k + s / 9,
                refinement.NMSE: 1 / k,
                refinement.CE: 2 / k,
            }
            for m, s, k in runs
            for by in (refinement.ENCODER, refinement.REFINED)
        ]
    )
    changes = pd.DataFrame(
        [
            {"method": m, "seed": s, "sparsity": k, "size": n, "before": 0.1 * n, "after": 0.2 * n, "count": 5.0}
            for m, s, k in runs
            for n in (1, 2, 3)
        ]
    )
    left, middle, right = inference_drawing.refinement(codes, changes).axes
    assert len(left.lines) == 2 * seeds + 1
    assert all(line.get_ydata() == pytest.approx([2.0] * 3) for line in left.lines[:-1])
    assert [len(ax.get_legend_handles_labels()[1]) for ax in (middle, right)] == [4, 4]


@pytest.mark.parametrize("seeds", [1, 3])
def test_positions_have_a_line_for_each_k(seeds):
    rows = [
        {
            "method": "topk", "seed": s, "sparsity": k, "position": p, positions.OWN: 2 / k,
            "normalised_mse": (1 + 0.1 * s) / k,
        }
        for s in range(seeds)
        for k in (4.0, 8.0)
        for p in range(8)
    ]  # fmt: skip
    (ax,) = inference_drawing.positions(positions.spans(pd.DataFrame(rows)), positions.OWN).axes
    assert ax.get_legend_handles_labels()[1] == ["k = 4", "k = 8"] and ax.get_xscale() == "log"
