"""Ablations are compared with the full recipe."""

import pandas as pd
import pytest

from saebook.papers.gated import recipe


def test_ablations_are_compared_at_their_own_sparsities():
    lambdas, quality = (0.5, 1.0, 2.0), (0.9, 0.8, 0.6)
    rows = [
        {"method": method, "seed": seed, "sparsity": value, "l0": factor * 10 / value, "loss_recovered": q}
        for method, factor in (("gated", 1.0), ("gated_untied", 1.25))
        for seed in (0, 1)
        for value, q in zip(lambdas, quality, strict=True)
        if method == "gated" or value >= 1
    ]
    assert recipe.full_over(pd.DataFrame(rows), "gated_untied") == pytest.approx([0.8, 0.8])
