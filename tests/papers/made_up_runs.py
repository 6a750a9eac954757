"""Made-up runs of a sweep for tests of figures."""

import pandas as pd


def table(seeds: int) -> pd.DataFrame:
    rows = [
        {
            "method": method, "d_sae": 64, "sparsity": k, "seed": seed, "l0": k + seed, "normalised_mse": 1 / (k + seed),
            "ce_increase": 2 / (k + seed), "alive_elements": 10 + k + seed,
        }
        for method in ("local", "e2e", "relu", "topk")
        for k in (4.0, 8.0)
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)
