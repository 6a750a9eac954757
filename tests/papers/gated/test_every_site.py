"""Comparisons over all sites and layers."""

import math

import numpy as np
import pandas as pd
import pytest
from papers.gated.site_sweeps import FACTORS, grid

from saebook.papers.gated import every_site


def test_worst_site_has_an_interval():
    ratios = every_site.l0_ratios(grid(FACTORS))
    assert ratios["mean"].to_list() == pytest.approx(list(FACTORS.values()), rel=0.1)
    worst = every_site.worst(grid(FACTORS))
    assert worst.low < 0.7 < worst.high < 1 and worst.n == 3
    # One site that turns is not outvoted by the others.
    turned = every_site.worst(grid(FACTORS | {("mlp_out", 1): 1.5}))
    assert 1 < turned.low < 1.5 < turned.high
    apart = grid(FACTORS)
    apart.loc[(apart.site == "mlp_out") & (apart.layer == 1) & (apart.method == "gated"), "loss_recovered"] -= 0.5
    unknown = every_site.worst(apart)
    assert math.isnan(unknown.mean) and unknown.n == 0 and unknown.high == math.inf


def test_claim_about_all_sites_keeps_its_error_rate():
    """One of four sites has no effect: the upper end lies below one in at most one study of forty."""
    rng, below = np.random.default_rng(1), 0
    for _ in range(400):
        logs = {place: rng.normal(math.log(f), 0.1, 3) for place, f in (FACTORS | {("mlp_out", 0): 1.0}).items()}
        highs = [x.mean() + 4.303 * x.std(ddof=1) / 3**0.5 for x in logs.values()]
        below += max(highs) < 0
    assert below / 400 <= 0.025 + 3 * (0.025 * 0.975 / 400) ** 0.5


def test_mean_over_layers_takes_the_seeds_of_all_layers():
    table = grid({("mlp_post", 0): 0.4, ("mlp_post", 1): 0.9}, noise=0.0)
    mean_over_layers = every_site.over_layers(table)
    assert mean_over_layers.mean == pytest.approx(0.6, rel=0.01) and mean_over_layers.n == 3
    table.loc[(table.layer == 1) & (table.seed == 2) & (table.method == "gated"), "loss_recovered"] -= 0.5
    assert every_site.over_layers(table).n == 2
    nothing = table[table.site == "resid_post"]
    assert every_site.over_layers(nothing).n == every_site.worst(nothing).n == 0
    assert every_site.farthest(every_site.biases(nothing, "gated")).n == 0


def test_bias_is_judged_at_the_farthest_site():
    biases = every_site.biases(grid(FACTORS), "gated")
    assert abs(every_site.farthest(biases).mean - 1) < 0.01
    biases.loc[2, ["mean", "low", "high"]] = 0.9, 0.88, 0.92
    assert every_site.farthest(biases).mean == 0.9


def test_overlap_and_controls():
    table = grid(FACTORS)
    assert every_site.overlap(table)[["from", "to"]].to_numpy() == pytest.approx(np.tile([0.8, 0.95], (4, 1)))
    # Chance of a given size is found at that size, and a site where it is larger stands out.
    quiet, loud = grid(FACTORS, noise=0.0), grid({("mlp_out", 3): 0.5}, noise=0.3)
    controls = every_site.controls(pd.concat([quiet, loud]))
    assert controls.typical.to_list()[:4] == pytest.approx([1.0] * 4) and controls.pairs.to_list() == [3] * 5
    assert 1.1 < controls.typical.iloc[4] <= controls.most.iloc[4] < 3
    beside = every_site.beside_paper(
        every_site.l0_ratios(table), pd.DataFrame({"site": ["Resid", "Resid", "Attn"], "ratio": [0.3, 0.5, 0.2]})
    )
    assert beside.paper_median.dropna().tolist() == [0.4, 0.4]
