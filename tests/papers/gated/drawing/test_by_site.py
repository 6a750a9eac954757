"""Figures over sites and layers."""

import math

import numpy as np
import pandas as pd

from saebook.claims import results
from saebook.papers.gated import every_site
from saebook.papers.gated.drawing import by_site


def grid(factors, seeds=3, noise=0.02):
    """A made-up sweep at sites where Gated needs `factors` times the baseline's features."""
    rng, rows = np.random.default_rng(0), []
    for (site, layer), factor in factors.items():
        for seed in range(seeds):
            for quality in (0.8, 0.9, 0.95):
                base = 100 ** (2 * quality - 1) * math.exp(noise * rng.normal())
                rows += [[site, layer, "relu", quality, seed, base, quality, 0.9 + 0.001 * rng.normal()]]
                rows += [[site, layer, "gated", quality, seed, factor * base, quality, 1.0 + 0.001 * rng.normal()]]
    names = ["site", "layer", "method", "sparsity", "seed", "l0", "loss_recovered", "relative_reconstruction_bias"]
    return pd.DataFrame(rows, columns=names)


FACTORS = {("resid_post", 0): 0.4, ("resid_post", 1): 0.5, ("mlp_out", 0): 0.7, ("mlp_out", 1): 0.6}


def test_figures_draw_every_site():
    table = grid(FACTORS)
    drawn = by_site.curves(table)
    assert len(drawn.axes) == 4 and all(ax.get_xscale() == "log" for ax in drawn.axes)
    paper = results.published("gated_tables_1_to_8")
    biases = {m: every_site.biases(table, m) for m in ("gated", "relu")}
    lost = every_site.l0_ratios(table)
    lost.loc[0, ["mean", "low", "high"]] = math.nan, 0.0, math.inf  # a site without a ratio is left out, not in the way
    published = pd.DataFrame({"site": ["Resid"], "ratio": [0.5]})
    left = by_site.summary(lost, biases, published, paper).axes[0]
    assert len(left.get_yticklabels()) == 4
