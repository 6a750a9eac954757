"""Learning rates are chosen for each type of site."""

import math

import numpy as np
import pandas as pd
import pytest

from saebook.claims import results
from saebook.papers.gated import site_rates
from saebook.training import tuning


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


def test_rate_is_chosen_for_each_type_of_site():
    parts = [grid(FACTORS, 2).assign(lr=lr) for lr in (0.01, 0.02)]
    parts[1].loc[(parts[1].method == "relu") & (parts[1].site == "mlp_out"), "l0"] *= 0.5
    parts[1].loc[parts[1].method == "gated", "l0"] *= 1.5
    table = site_rates.named(pd.concat(parts, ignore_index=True).query("layer == 1"))
    chosen = tuning.chosen(tuning.scores(table))
    assert (chosen["relu at mlp_out"], chosen["gated at mlp_out"], chosen["gated at resid_post"]) == (0.02, 0.01, 0.01)


@pytest.mark.parametrize("tier", ["cpu", "gpu"])
def test_both_architectures_reach_a_common_range_of_loss_at_every_site(tier):
    recorded = results.read("gated/tuning_fig12_sites", tier)
    if recorded is None:
        pytest.skip(f"no tuning of the sites is recorded at tier {tier}")
    common = pd.DataFrame(recorded["findings"]["overlap"])
    assert (common["from"] < common["to"]).all()
