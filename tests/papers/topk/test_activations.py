"""Activation functions compared at equal L0, over widths, and by a power law."""

import numpy as np
import pandas as pd
import pytest

from saebook.evaluation import pareto
from saebook.papers.topk import activations


def curves(factors, seeds=3, widths=(64, 128, 256), law=-0.5):
    """Sweeps whose error is a power law of L0, a factor apart by kind, and cheaper the wider."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "method": kind, "d_sae": width, "sparsity": k, "seed": seed, "l0": k * (1 + 0.02 * seed),
            "normalised_mse": factor * k**law * (width / 64) ** slope * (1 + 0.001 * rng.standard_normal()),
        }
        for kind, (factor, slope) in factors.items()
        for width in widths
        for k in (4.0, 8.0, 16.0, 32.0)
        for seed in range(seeds)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(ce=1.0 + table.normalised_mse**1.5, ce_clean=1.0)


def test_method_is_compared_with_the_best_of_several():
    table = pareto.with_increase(curves({"topk": (0.8, -0.3), "relu": (1.0, -0.1), "gated": (0.9, -0.1)}))
    wide = table[table.d_sae == 256]
    planted = 0.8 / 0.9 * 4**-0.2
    assert activations.ratios(wide, "topk", ["gated"]) == pytest.approx([planted] * 3, rel=0.01)
    assert activations.ratios(wide, "topk", ["relu", "gated"]) == pytest.approx([planted] * 3, rel=0.01)
    assert activations.ratios(wide, "topk", ["gated"], activations.CE) == pytest.approx([planted**1.5] * 3, rel=0.02)
    equal_error = activations.ratios(wide, "topk", ["gated"], activations.CE, activations.NMSE)
    assert equal_error == pytest.approx([1.0] * 3, rel=0.02)  # the loss was planted as a function of the error alone
    assert pareto.matched_ratio_between_seeds(wide, "topk", activations.NMSE) == pytest.approx([1.0] * 3, rel=0.05)
    assert np.isnan(
        activations.ratios(wide.assign(l0=wide.l0.where(wide.method == "topk", 1e6)), "topk", ["relu"])
    ).all()


def test_planted_gap_slopes_and_power_laws_are_read_back():
    table = pareto.with_increase(curves({"topk": (0.8, -0.3), "relu": (1.0, -0.1)}))
    assert activations.gap_slopes(table, "topk", "relu", 12.0) == pytest.approx([0.2] * 3, abs=0.01)
    assert min(activations.power_law_fits(table, "topk")) > 0.999
    noise = np.exp(np.random.default_rng(1).standard_normal(len(table)))
    assert max(activations.power_law_fits(table.assign(ce_increase=noise), "topk")) < 0.9
    assert pareto.finite(activations.gap_slopes(table, "topk", "relu", 1e6)) == []
    missed = (table.d_sae == table.d_sae.max()) & (table.method == "relu") & (table.l0 <= 12)
    short = table[~missed]
    assert pareto.finite(activations.gap_slopes(short, "topk", "relu", 12.0)) == []
