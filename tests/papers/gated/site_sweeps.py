"""Made-up sweeps at several sites."""

import math

import numpy as np
import pandas as pd


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
