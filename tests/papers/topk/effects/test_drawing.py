"""Figures on what latents do draw every quantity, with one seed and with several."""

import pandas as pd
import pytest

from saebook.papers.topk.effects import drawing, logit_changes

REMOVED = (logit_changes.LATENT, logit_changes.RANDOM, logit_changes.ELSEWHERE, logit_changes.CHANNEL)


@pytest.mark.parametrize("seeds", [1, 3])
def test_logit_changes_have_a_line_for_all_that_is_removed(seeds):
    rows = [
        {
            "method": "topk", "seed": seed, "sparsity": k, "removed": removed, "density": 0.1 + seed / 99,
            "own_density": 0.5 + k / 99,
        }
        for seed in range(seeds)
        for k in (8.0, 16.0)
        for removed in REMOVED
    ]  # fmt: skip
    figure = drawing.logit_changes(pd.DataFrame(rows))
    for ax, y in zip(figure.axes, (0.1 + (seeds - 1) / 198, 0.5 + 8 / 99), strict=True):
        assert len(ax.containers) == 4 and ax.get_yscale() == "log"
        assert ax.containers[0].lines[0].get_ydata()[0] == pytest.approx(y)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(REMOVED) < set(labels) and len(labels) == 5
